//! Limits of this machine's kernel, if nodes run on it.

use std::path::{Path, PathBuf};

use super::nodes::Node;
use super::report::{Report, Status};

/// How many connections a listener lets wait to be accepted.
const BACKLOG: u64 = 1_024;
const SEE: &str = "docs/doctor.md#limits";

/// Looks at them.
pub(super) fn look(nodes: &[Node], report: &mut Report) {
    let here: Vec<_> = nodes.iter().filter(|node| node.is_here).collect();
    if here.is_empty() {
        let why = "no node is on this machine: run the doctor on theirs to have the kernel's limits looked at";
        return report.skipped("limits", "this machine", why);
    }
    let connections: f64 = here.iter().filter_map(|node| node.figure("gateway_connections_limit")).sum();
    Kernel(PathBuf::from("/proc/sys")).judge(connections as u64, report);
}

/// Where the kernel shows its settings.
struct Kernel(PathBuf);

impl Kernel {
    fn number(&self, name: &str) -> Option<u64> {
        let path = self.0.join(name.replace('.', "/"));
        std::fs::read_to_string(Path::new(&path)).ok()?.split_whitespace().next()?.parse().ok()
    }

    /// `connections`: how many the nodes here may hold together.
    fn judge(&self, connections: u64, report: &mut Report) {
        // A container has some of these for itself, and does not see others.
        let mut at_least = |check, name: &str, least: u64, why: &str| {
            let Some(number) = self.number(name) else {
                return report.skipped(check, name, "cannot be read here");
            };
            if number >= least {
                return report.ok(check, name, format!("is {number}"));
            }
            let todo = format!("sysctl -w {name}={least}, and a line for it in /etc/sysctl.d");
            report.found(Status::Warning, check, name, format!("is {number}, less than {least}: {why}"), (todo, SEE));
        };
        let why = "when many clients come back at once, connections are dropped before a node sees them";
        at_least("limits.somaxconn", "net.core.somaxconn", BACKLOG, why);
        at_least("limits.syn_backlog", "net.ipv4.tcp_max_syn_backlog", BACKLOG, why);
        let files = connections.saturating_mul(2).max(65_536);
        at_least("limits.files", "fs.file-max", files, "all processes together may open no more files");
        if self.number("net.netfilter.nf_conntrack_max").is_some() {
            let why =
                "the firewall forgets or drops connections beyond it; each has a place there, and keeps it for a while";
            at_least("limits.conntrack", "net.netfilter.nf_conntrack_max", connections.saturating_mul(2), why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_was_not_set_up() {
        let folder = tempfile::tempdir().unwrap();
        let set = |name: &str, value: &str| {
            let path = folder.path().join(name.replace('.', "/"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value).unwrap();
        };
        set("net.core.somaxconn", "128\n");
        set("net.ipv4.tcp_max_syn_backlog", "4096\n");
        set("net.netfilter.nf_conntrack_max", "30000\n");
        let mut report = Report::default();
        Kernel(folder.path().to_owned()).judge(20_000, &mut report);
        let found: Vec<_> = report.findings().iter().map(|it| (it.check, it.status)).collect();
        let expected = [
            ("limits.somaxconn", Status::Warning),
            ("limits.syn_backlog", Status::Ok),
            ("limits.files", Status::Skipped),
            ("limits.conntrack", Status::Warning),
        ];
        assert_eq!(found, expected);
        assert!(report.findings()[0].todo.as_ref().unwrap().starts_with("sysctl -w net.core.somaxconn=1024"));
    }
}
