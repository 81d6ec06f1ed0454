//! `publish`: something is said to a room, and kept.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Kind, failure, read};
use gateway_core::config::Limits;
use gateway_core::content::{Bounds, check_emitted, check_placeholders};
use gateway_core::domain::{Event, Offset, Refusal, RoomName};
use gateway_core::jobs::{Failure, Handler, Job};
use gateway_core::log::Terms;
use gateway_core::node::{Node, dedupe_of, now_ms};

/// Says something to rooms.
#[derive(Debug)]
pub struct Publish {
    node: Arc<Node>,
    bounds: Bounds,
}

/// What a job of this kind is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data<'a> {
    #[serde(default = "main")]
    namespace: String,
    room: String,
    event: String,
    /// The arguments.
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    /// The one argument, instead.
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn main() -> String {
    "/".to_owned()
}

#[derive(Serialize)]
struct Said {
    offset: Offset,
    duplicate: bool,
}

impl Publish {
    /// Somebody who says things through a node.
    #[must_use]
    pub fn new(node: Arc<Node>, limits: &Limits) -> Self {
        Self { node, bounds: Bounds::new(limits) }
    }

    /// Looks whether such data can be said within these bounds.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_data(bounds: &Bounds, data: &RawValue) -> Result<(), String> {
        event(bounds, data).map(drop)
    }
}

/// What is to be said, and where, if such data say so.
fn event(bounds: &Bounds, data: &RawValue) -> Result<(RoomName, Event), String> {
    let Data { namespace, room, event, args, data } = read(data)?;
    if !namespace.starts_with('/') {
        return Err("namespace must begin with /".into());
    }
    let room = RoomName::parse_in(&namespace, &room).map_err(|refusal| refusal.message())?;
    let args = match (args, data) {
        (Some(_), Some(_)) => return Err("args is for several arguments, data for one; not both".into()),
        (Some(args), None) => args.get().to_owned(),
        (None, Some(data)) => format!("[{}]", data.get()),
        (None, None) => "[]".to_owned(),
    };
    check(bounds, &event, &args).map_err(|refusal| refusal.message())?;
    Ok((room, Event { name: event, args, attachments: Vec::new(), except: None, at_ms: now_ms() }))
}

fn check(bounds: &Bounds, event: &str, args: &str) -> Result<(), Refusal> {
    check_emitted(event)?;
    bounds.check_text(args, event.len() + args.len())?;
    let list: Vec<&RawValue> = serde_json::from_str(args).map_err(|_| Refusal::bad_request("args is a list"))?;
    bounds.check_arguments(list.len())?;
    check_placeholders(args, 0)
}

impl Kind for Publish {
    fn check(&self, data: &RawValue) -> Result<(), String> {
        Self::check_data(&self.bounds, data)
    }
}

#[async_trait]
impl Handler for Publish {
    async fn handle(&self, job: &Job) -> Result<Option<Box<RawValue>>, Failure> {
        let (room, event) = event(&self.bounds, &job.data).map_err(Failure::never)?;
        // The log knows it again if the answer was lost, or the worker.
        let key = dedupe_of(&format!("j:{}", job.queue), &room, job.id.as_str());
        let said =
            self.node.publish(&room, &event, Terms::once(&key), None).await.map_err(|refusal| failure(&refusal))?;
        let said = Said { offset: said.position.offset, duplicate: said.duplicate };
        Ok(serde_json::value::to_raw_value(&said).ok())
    }
}
