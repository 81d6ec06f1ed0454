//! Names as BullMQ can have them: any queue and any job of ours has one, and what others named keeps its name.

use std::borrow::Cow;

use gateway_core::jobs::{JobId, QueueName};

/// What of a queue's keys is no job: a job of such an id would be taken for it.
const RESERVED: [&str; 22] = [
    "active",
    "completed",
    "de",
    "delayed",
    "events",
    "failed",
    "id",
    "limiter",
    "marker",
    "meta",
    "metrics",
    "NaN",
    "paused",
    "pc",
    "prioritized",
    "priority",
    "repeat",
    "stalled",
    "stalled-check",
    "wait",
    "waiting",
    "waiting-children",
];

/// The name of a queue: colons separate the parts of a key, so it has none.
pub(super) fn of_queue(queue: &QueueName) -> Cow<'_, str> {
    let name = queue.as_str();
    if name.contains([':', '%']) { name.replace('%', "%25").replace(':', "%3A").into() } else { name.into() }
}

/// The id of a job, if a queue can have it: numbers are given by the queue itself, and what has a colon may be something else of
/// another job, but for the ticks of schedulers of others.
pub(super) fn of_job(id: &JobId) -> Option<Cow<'_, str>> {
    let id = id.as_str();
    if id.contains(':') && !id.starts_with("repeat:") {
        return None;
    }
    let is_number = id.strip_prefix('-').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let escaped = RESERVED.contains(&id) || id.starts_with('%') || is_number;
    Some(if escaped { format!("%{id}").into() } else { id.into() })
}

/// The id of a job that a queue has.
pub(super) fn job_of(text: &str) -> Option<JobId> {
    let plain = text.strip_prefix('%').filter(|rest| {
        let id = JobId::known(*rest);
        id.is_ok_and(|id| of_job(&id).is_some_and(|written| written == text))
    });
    JobId::known(plain.unwrap_or(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_no_colons() {
        for (name, written) in [("mail", "mail"), ("a:b", "a%3Ab"), ("a%3Ab", "a%253Ab"), ("ü {x}", "ü {x}")] {
            assert_eq!(of_queue(&QueueName::new(name).unwrap()), written);
        }
    }

    #[test]
    fn ids_come_back_as_they_were() {
        for (id, written) in [
            ("order-7", "order-7"),
            ("7", "7"),
            ("wait", "%wait"),
            ("%wait", "%%wait"),
            ("%x", "%%x"),
            ("-7", "%-7"),
            ("repeat:x:7", "repeat:x:7"),
        ] {
            let id = JobId::known(id).unwrap();
            assert_eq!(of_job(&id).unwrap(), written);
            assert_eq!(job_of(written).unwrap(), id);
        }
        assert_eq!(of_job(&JobId::known("7:lock").unwrap()), None);
        assert_eq!(job_of("%of others").unwrap().as_str(), "%of others");
        assert_eq!(job_of(""), None);
    }
}
