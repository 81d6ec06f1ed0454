//! Questions: what one node asks all nodes over the bus, and what they answer within a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{Bus, BusMessage};
use crate::port::{Port, PortError};

/// Questions, and answers, that wait to be looked at. Beyond it they are lost, and who asked learns that a node is missing.
const MESSAGES: usize = 256;

/// Who asks, and what: where the answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The node among those that ask: names of nodes need not differ.
    pub node: u64,
    /// Which of its questions it is.
    pub question: u64,
}

/// A question as it is sent: a map of MessagePack, so that fields can be added.
pub trait Question: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What a node says to it.
    type Answer: Answer;

    /// The same, asked by somebody.
    #[must_use]
    fn asked_by(self, asker: Asker) -> Self;

    /// Who asks.
    fn asker(&self) -> Asker;
}

/// An answer as it is sent, in the same way.
pub trait Answer: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The same, to a question by its number.
    #[must_use]
    fn to(self, question: u64) -> Self;

    /// Which question it is for.
    fn question(&self) -> u64;
}

/// One kind of questions: every node hears them on one channel, and the answers to its own on another.
pub struct Questions<Q: Question> {
    bus: Arc<dyn Bus>,
    /// Where every node hears questions; answers go to `<channel>:<who asked>`.
    channel: String,
    node: u64,
    asked: Mutex<Asked<Q::Answer>>,
}

/// The questions of this node that wait for answers.
struct Asked<A> {
    last: u64,
    waiting: HashMap<u64, mpsc::Sender<A>>,
}

/// What a node hears of questions, and of answers to its own.
#[derive(Debug)]
pub struct Questioned {
    questions: mpsc::Receiver<BusMessage>,
    answers: mpsc::Receiver<BusMessage>,
}

impl<Q: Question> std::fmt::Debug for Questions<Q> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Questions").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl<Q: Question> Questions<Q> {
    /// Makes a node hear the questions of a channel. [`Self::serve`] must be running for any of them to be heeded.
    ///
    /// # Errors
    /// The bus cannot be reached.
    pub async fn start(bus: Arc<dyn Bus>, channel: String) -> Result<(Self, Questioned), PortError> {
        let node = rand::random();
        let (sink, questions) = mpsc::channel(MESSAGES);
        bus.subscribe(&channel, sink).await?;
        let (sink, answers) = mpsc::channel(MESSAGES);
        bus.subscribe(&answers_to(&channel, node), sink).await?;
        let asked = Mutex::new(Asked { last: 0, waiting: HashMap::new() });
        Ok((Self { bus, channel, node, asked }, Questioned { questions, answers }))
    }

    /// Answers the questions of all nodes, so many at the same time, and takes the answers to this one's, for ever. `answer`
    /// is given each question, and nothing where some may have been missed; what it does not answer is for somebody else.
    pub async fn serve<F>(&self, questioned: Questioned, at_once: usize, answer: F)
    where
        F: Fn(Option<Q>) -> BoxFuture<'static, Option<Q::Answer>> + Send,
    {
        let Questioned { mut questions, mut answers } = questioned;
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(message) = questions.recv(), if under_way.len() < at_once => {
                    let Some(question) = read::<Q>(&message) else { continue };
                    let asker = question.as_ref().map(Question::asker);
                    let answering = answer(question);
                    under_way.push(async move { answering.await.zip(asker) });
                }
                Some(answered) = under_way.next() => {
                    let Some((answer, asker)) = answered else { continue };
                    let sent = self.send(&answers_to(&self.channel, asker.node), &answer.to(asker.question)).await;
                    sent.unwrap_or_else(|error| error.tell("a question of another node was not answered"));
                }
                // What a gap swallowed is a missing answer to whoever waits.
                Some(message) = answers.recv() => {
                    let BusMessage::Message { payload, .. } = message else { continue };
                    let Ok(answer) = rmp_serde::from_slice::<Q::Answer>(&payload) else { continue };
                    if let Some(waiting) = self.asked.lock().waiting.get(&answer.question()) {
                        waiting.try_send(answer).ok();
                    }
                }
                else => return,
            }
        }
    }

    /// Asks all nodes, this one too, and hands each answer that comes within a time to `each`. Returns how many nodes did not
    /// answer: of those that listen now. One that is just connecting to the bus again is not among them.
    ///
    /// # Errors
    /// The bus cannot be reached.
    pub async fn ask(&self, question: Q, time: Duration, mut each: impl FnMut(Q::Answer)) -> Result<usize, PortError> {
        let deadline = Instant::now() + time;
        // This node is there even if its subscriptions are just being made anew.
        let nodes = self.bus.subscribers(&self.channel).await?.max(1);
        let mut waiting = Waiting::new(self, nodes);
        let asker = Asker { node: self.node, question: waiting.question };
        self.send(&self.channel, &question.asked_by(asker)).await?;
        let mut answered = 0;
        while answered < nodes
            && let Ok(Some(answer)) = timeout_at(deadline, waiting.answers.recv()).await
        {
            answered += 1;
            each(answer);
        }
        Ok(nodes - answered)
    }

    async fn send<T: Serialize + Sync>(&self, channel: &str, message: &T) -> Result<(), PortError> {
        let bytes = rmp_serde::to_vec_named(message).map_err(|error| Port::Bus.broken("encode", error))?;
        self.bus.publish(channel, bytes.into()).await
    }
}

/// A question, or that some may have been missed. What a newer node asks, and this one does not know, is neither.
fn read<Q: Question>(message: &BusMessage) -> Option<Option<Q>> {
    match message {
        BusMessage::Gap => Some(None),
        BusMessage::Message { payload, .. } => rmp_serde::from_slice(payload).ok().map(Some),
    }
}

/// Where the node that asked hears answers.
fn answers_to(channel: &str, node: u64) -> String {
    format!("{channel}:{node:016x}")
}

/// A question that waits for answers of nodes, until it is dropped.
struct Waiting<'a, Q: Question> {
    question: u64,
    answers: mpsc::Receiver<Q::Answer>,
    of: &'a Questions<Q>,
}

impl<'a, Q: Question> Waiting<'a, Q> {
    fn new(of: &'a Questions<Q>, nodes: usize) -> Self {
        let (sender, answers) = mpsc::channel(nodes);
        let mut asked = of.asked.lock();
        asked.last += 1;
        let question = asked.last;
        asked.waiting.insert(question, sender);
        Self { question, answers, of }
    }
}

impl<Q: Question> Drop for Waiting<'_, Q> {
    fn drop(&mut self) {
        self.of.asked.lock().waiting.remove(&self.question);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde::Deserialize;

    use super::*;
    use crate::bus::{MemoryBus, MemoryHub};

    #[derive(Serialize, Deserialize)]
    struct Double {
        from: u64,
        id: u64,
        number: u64,
    }

    #[derive(Serialize, Deserialize)]
    struct Doubled {
        id: u64,
        number: u64,
    }

    impl Question for Double {
        type Answer = Doubled;
        fn asked_by(self, asker: Asker) -> Self {
            Self { from: asker.node, id: asker.question, ..self }
        }
        fn asker(&self) -> Asker {
            Asker { node: self.from, question: self.id }
        }
    }

    impl Answer for Doubled {
        fn to(self, question: u64) -> Self {
            Self { id: question, ..self }
        }
        fn question(&self) -> u64 {
            self.id
        }
    }

    /// A node that answers after a time.
    async fn node(hub: &Arc<MemoryHub>, takes: Duration) -> Arc<Questions<Double>> {
        let bus = Arc::new(MemoryBus::new(hub.clone()));
        let (questions, questioned) = Questions::start(bus, "double".into()).await.unwrap();
        let questions = Arc::new(questions);
        let serving = questions.clone();
        tokio::spawn(async move {
            let answer = move |question: Option<Double>| {
                let answering = async move {
                    tokio::time::sleep(takes).await;
                    question.map(|question| Doubled { id: 0, number: question.number * 2 })
                };
                answering.boxed()
            };
            serving.serve(questioned, usize::MAX, answer).await;
        });
        questions
    }

    async fn ask(node: &Questions<Double>, number: u64) -> (Vec<u64>, usize) {
        let mut answers = Vec::new();
        let question = Double { from: 0, id: 0, number };
        let missing = node.ask(question, Duration::from_secs(1), |answer| answers.push(answer.number)).await.unwrap();
        (answers, missing)
    }

    #[tokio::test(start_paused = true)]
    async fn all_nodes_answer_and_each_question_gets_its_own_answers() {
        let hub = Arc::<MemoryHub>::default();
        let (one, two) = (node(&hub, Duration::ZERO).await, node(&hub, Duration::from_millis(500)).await);
        let began = Instant::now();
        let answers = tokio::join!(ask(&one, 1), ask(&one, 2), ask(&two, 3));
        assert_eq!(answers, ((vec![2, 2], 0), (vec![4, 4], 0), (vec![6, 6], 0)));
        assert_eq!(began.elapsed(), Duration::from_millis(500), "nobody waits once all have answered");
        assert!(one.asked.lock().waiting.is_empty() && two.asked.lock().waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_in_time_is_missing_and_disturbs_no_later_question() {
        let hub = Arc::<MemoryHub>::default();
        let (one, _late) = (node(&hub, Duration::ZERO).await, node(&hub, Duration::from_millis(1_500)).await);
        let (first, second) = tokio::join!(ask(&one, 1), async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            ask(&one, 2).await
        });
        assert_eq!((first, second), ((vec![2], 1), (vec![4], 1)));
        // The answer to the first comes while this one waits.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(ask(&one, 5).await, (vec![10], 1));
    }
}
