//! The table of requests a name server answers: one row per code. Java: `DefaultRequestProcessor`,
//! `ClientRequestProcessor`.

mod cluster;
mod config;
mod kv;
mod route;
mod topic;

use crate::request::{Answer, Refusal, Request};
use crate::server::NameServer;

/// Carries out a request and appends its answer.
pub(crate) type Handler =
    fn(&mut NameServer, &Request<'_>, &mut Vec<u8>) -> Result<Answer, Refusal>;

/// A request code, its Java name, and what to do.
pub(crate) struct Row {
    pub(crate) code: i32,
    pub(crate) name: &'static str,
    pub(crate) handle: Handler,
}

/// What to do for a code.
pub(crate) fn row(code: i32) -> Option<&'static Row> {
    ROWS.binary_search_by_key(&code, |row| row.code).ok().map(|at| &ROWS[at])
}

const fn on(code: i32, name: &'static str, handle: Handler) -> Row {
    Row { code, name, handle }
}

/// In the order of codes.
#[rustfmt::skip]
pub(crate) static ROWS: &[Row] = &[
    on(100, "PUT_KV_CONFIG", kv::put),
    on(101, "GET_KV_CONFIG", kv::get),
    on(102, "DELETE_KV_CONFIG", kv::delete),
    on(103, "REGISTER_BROKER", cluster::register),
    on(104, "UNREGISTER_BROKER", cluster::unregister),
    on(105, "GET_ROUTEINFO_BY_TOPIC", route::of_topic),
    on(106, "GET_BROKER_CLUSTER_INFO", cluster::info),
    on(205, "WIPE_WRITE_PERM_OF_BROKER", cluster::wipe_write_perm),
    on(206, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER", topic::all),
    on(216, "DELETE_TOPIC_IN_NAMESRV", topic::delete),
    on(217, "REGISTER_TOPIC_IN_NAMESRV", topic::register),
    on(219, "GET_KVLIST_BY_NAMESPACE", kv::list),
    on(224, "GET_TOPICS_BY_CLUSTER", topic::of_cluster),
    on(304, "GET_SYSTEM_TOPIC_LIST_FROM_NS", topic::system),
    on(311, "GET_UNIT_TOPIC_LIST", topic::unit),
    on(312, "GET_HAS_UNIT_SUB_TOPIC_LIST", topic::unit_sub),
    on(313, "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST", topic::unit_sub_not_unit),
    on(318, "UPDATE_NAMESRV_CONFIG", config::update),
    on(319, "GET_NAMESRV_CONFIG", config::get),
    on(322, "QUERY_DATA_VERSION", cluster::query_data_version),
    on(327, "ADD_WRITE_PERM_OF_BROKER", cluster::add_write_perm),
    on(901, "GET_BROKER_MEMBER_GROUP", cluster::members),
    on(904, "BROKER_HEARTBEAT", cluster::heartbeat),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_named_as_in_java() {
        assert!(ROWS.is_sorted_by(|a, b| a.code < b.code));
        for row in ROWS {
            assert_eq!(wire::codes::request_name(row.code), Some(row.name));
        }
    }
}
