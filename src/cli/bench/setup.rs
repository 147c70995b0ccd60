//! Before the load: which brokers, which queues, and a topic to measure with.

use super::Failure;
use super::args::Common;
use client::{Connection, NewTopic, Options};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;
use wire::body::route::BrokerData;

/// How long a broker may take for an answer: the Java broker writes its whole table for each new topic.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Connections that create topics.
const CREATORS: usize = 16;
/// Id of a master in a broker group.
const MASTER_ID: i64 = 0;

/// What the load speaks to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Masters; each has all queues.
    pub(super) brokers: Vec<SocketAddr>,
    /// Queues per broker.
    pub(super) queues: i32,
}

/// Finds the brokers and makes sure of the topics.
pub(super) fn prepare(common: &Common, topics: &[String]) -> Result<Target, Failure> {
    let brokers = match (&common.broker, &common.namesrv) {
        (Some(broker), _) => vec![address(broker)?],
        (None, Some(namesrv)) => masters(namesrv, common)?,
        (None, None) => return Err(Failure("name a broker or a name server".to_owned())),
    };
    if !common.no_create {
        for &broker in &brokers {
            create_topics(broker, common, topics)?;
        }
    }
    Ok(Target { brokers, queues: common.queues })
}

/// Creates topics over several connections: a broker writes its whole table for each, or for all that wait for it.
fn create_topics(broker: SocketAddr, common: &Common, topics: &[String]) -> Result<(), Failure> {
    let part = topics.len().div_ceil(CREATORS).max(1);
    std::thread::scope(|scope| {
        let create = |names: &[String]| {
            let mut connection = connect(broker, common)?;
            names.iter().try_for_each(|name| {
                connection
                    .create_topic(&NewTopic::new(name, common.queues))
                    .map_err(|error| Failure(format!("creating {name} on {broker}: {error}")))
            })
        };
        let creators: Vec<_> =
            topics.chunks(part).map(|names| scope.spawn(move || create(names))).collect();
        creators
            .into_iter()
            .try_for_each(|creator| creator.join().expect("a creator returns its failure"))
    })
}

/// First and end index of every queue of a broker, in the order of the queues.
pub(super) fn offsets(
    broker: SocketAddr,
    queues: i32,
    common: &Common,
) -> Result<Vec<(i64, i64)>, Failure> {
    let failed = |error: client::Error| Failure(format!("asking {broker} for offsets: {error}"));
    let mut connection = connect(broker, common)?;
    (0..queues)
        .map(|queue| {
            let first = connection.min_offset(&common.topic, queue).map_err(failed)?;
            let end = connection.max_offset(&common.topic, queue).map_err(failed)?;
            Ok((first, end))
        })
        .collect()
}

/// Masters that have the topic, or when it is yet to be created, all masters.
fn masters(namesrv: &str, common: &Common) -> Result<Vec<SocketAddr>, Failure> {
    let failed = |error: client::Error| Failure(format!("asking name server {namesrv}: {error}"));
    let mut connection = connect(address(namesrv)?, common)?;
    let groups: Vec<BrokerData> = if common.no_create {
        let route = connection.route(&common.topic).map_err(failed)?;
        let route = route.ok_or_else(|| {
            Failure(format!("name server {namesrv} does not know topic {}", common.topic))
        })?;
        route.broker_datas
    } else {
        let cluster = connection.cluster_info().map_err(failed)?;
        cluster.broker_addr_table.0.into_iter().map(|(_, group)| group).collect()
    };
    let masters: Vec<SocketAddr> = groups
        .iter()
        .filter_map(|group| group.broker_addrs.get(&MASTER_ID))
        .map(|master| address(master))
        .collect::<Result<_, _>>()?;
    if masters.is_empty() {
        return Err(Failure(format!("name server {namesrv} knows no master")));
    }
    Ok(masters)
}

/// A connection for requests of tools.
pub(super) fn connect(to: SocketAddr, common: &Common) -> Result<Connection, Failure> {
    let (serialize, timeout) = (common.serialize.wire(), ANSWER_WAIT);
    let options = Options { serialize, timeout, ..Options::default() };
    Connection::connect_with(to, options)
        .map_err(|error| Failure(format!("connecting to {to}: {error}")))
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    let wrong = |what: String| Failure(format!("address {text:?}: {what}"));
    let mut addresses = text.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    addresses.next().ok_or_else(|| wrong("the name has no address".to_owned()))
}
