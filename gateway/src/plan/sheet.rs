//! The arithmetic of a plan as it is shown: a line for each figure, with how it came about.

use serde::Serialize;

use super::constants::{Constant, Scale};

/// One figure of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Line {
    /// What of a deployment it is about.
    pub(super) part: &'static str,
    pub(super) what: &'static str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) how: String,
    /// The keys of the constants that are in it.
    pub(super) constants: Vec<&'static str>,
}

/// Lines as they are being written, with the constants of the machine.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
    part: &'static str,
}

impl Sheet {
    pub(super) fn new(scale: Scale) -> Self {
        Self { scale, lines: Vec::new(), part: "" }
    }

    /// What the next lines are about.
    pub(super) fn about(&mut self, part: &'static str) {
        self.part = part;
    }

    /// What a constant is on this machine.
    pub(super) fn of(&self, constant: &Constant) -> f64 {
        self.scale.of(constant)
    }

    /// Adds a line; returns its value.
    pub(super) fn line(
        &mut self,
        what: &'static str,
        (value, unit): (f64, &'static str),
        how: String,
        constants: &[&'static Constant],
    ) -> f64 {
        let constants = constants.iter().map(|constant| constant.key).collect();
        self.lines.push(Line { part: self.part, what, value, unit, how, constants });
        value
    }

    /// `amount` things a second, each of which costs processor time: in cores.
    pub(super) fn work(&mut self, what: &'static str, (amount, of): (f64, &str), constant: &'static Constant) -> f64 {
        let each = self.of(constant);
        let how = format!("{} {of}/s × {} µs", figure(amount), figure(each));
        self.line(what, (amount * each / 1e6, "cores"), how, &[constant])
    }
}

/// A number as people read it: three digits that count, thousands apart.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 999.5 {
        let digits = format!("{value:.0}");
        let mut apart = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) && !apart.ends_with('-') {
                apart.push(',');
            }
            apart.push(digit);
        }
        return apart;
    }
    let decimals = if size >= 99.95 || size == 0.0 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        3
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let cases = [
            (0.0, "0"),
            (0.24567, "0.246"),
            (1.0, "1"),
            (9.5, "9.5"),
            (12.34, "12.3"),
            (99.96, "100"),
            (123.4, "123"),
            (999.6, "1,000"),
            (24_000.0, "24,000"),
            (1_234_567.8, "1,234,568"),
            (100.0, "100"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
    }
}
