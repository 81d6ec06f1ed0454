//! Shares: how many of all connections each node should have, by its weight and within its limit.

/// What is known of a node that clients may come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    /// Its connections.
    pub(super) connections: u32,
    /// How many it may have, 0 for any number.
    pub(super) limit: u32,
    /// Its part of all, among the weights of the others.
    pub(super) weight: u32,
}

impl Standing {
    /// Of what it may have, a twentieth is left for those who come by themselves.
    fn most(&self) -> f64 {
        if self.limit == 0 { f64::INFINITY } else { f64::from(self.limit) * 0.95 }
    }
}

/// The shares of nodes in so many connections: by weight, but to none more than it may have, which the others take then.
pub(super) fn shares(nodes: &[Standing], total: f64) -> Vec<f64> {
    let mut shares = vec![0.0; nodes.len()];
    let mut open: Vec<usize> = (0..nodes.len()).collect();
    let mut left = total;
    loop {
        let weights: f64 = open.iter().map(|&at| f64::from(nodes[at].weight.max(1))).sum();
        let by_weight = |at: usize| left * f64::from(nodes[at].weight.max(1)) / weights;
        let (full, others): (Vec<usize>, Vec<usize>) = open.iter().partition(|&&at| by_weight(at) > nodes[at].most());
        // Where all are full it is nobody's fault: each has its part of the crowd.
        if full.is_empty() || others.is_empty() {
            open.iter().for_each(|&at| shares[at] = by_weight(at));
            return shares;
        }
        for &at in &full {
            shares[at] = nodes[at].most();
        }
        left -= full.iter().map(|&at| nodes[at].most()).sum::<f64>();
        open = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(weights_and_limits: &[(u32, u32)], total: f64) -> Vec<f64> {
        let standing = |&(weight, limit): &(u32, u32)| Standing { connections: 0, limit, weight };
        let nodes: Vec<_> = weights_and_limits.iter().map(standing).collect();
        shares(&nodes, total).into_iter().map(f64::round).collect()
    }

    #[test]
    fn shares_are_by_weight() {
        assert_eq!(of(&[(100, 0), (100, 0)], 500.0), [250.0, 250.0]);
        assert_eq!(of(&[(100, 0), (200, 0), (100, 0)], 400.0), [100.0, 200.0, 100.0]);
        assert_eq!(of(&[(0, 0), (1, 0)], 10.0), [5.0, 5.0], "nobody can say that it weighs nothing");
    }

    #[test]
    fn nobody_gets_more_than_it_may_have_and_the_others_take_the_rest() {
        assert_eq!(of(&[(100, 100), (100, 0), (100, 0)], 600.0), [95.0, 253.0, 253.0]);
        assert_eq!(of(&[(100, 100), (100, 300), (100, 0)], 900.0), [95.0, 285.0, 520.0]);
        assert_eq!(of(&[(100, 100), (100, 100)], 600.0), [300.0, 300.0], "all are full");
        assert!(of(&[], 5.0).is_empty());
    }
}
