//! What brokers, clients and tools ask a name server. The structs have their Java names.

use crate::text::Text;

headers! {
    /// Code 100.
    PutKVConfigRequestHeader<'a> {
        /// Namespace.
        namespace: Text<'a> => b"namespace";
        /// Key.
        key: Text<'a> => b"key";
        /// Value.
        value: Text<'a> => b"value";
    }

    /// Code 101.
    GetKVConfigRequestHeader<'a> {
        /// Namespace.
        namespace: Text<'a> => b"namespace";
        /// Key.
        key: Text<'a> => b"key";
    }

    /// Answer to code 101.
    GetKVConfigResponseHeader<'a> {
        /// The value; absent when there is none.
        value: Option<Text<'a>> => b"value";
    }

    /// Code 102.
    DeleteKVConfigRequestHeader<'a> {
        /// Namespace.
        namespace: Text<'a> => b"namespace";
        /// Key.
        key: Text<'a> => b"key";
    }

    /// Code 219.
    GetKVListByNamespaceRequestHeader<'a> {
        /// Namespace.
        namespace: Text<'a> => b"namespace";
    }

    /// Code 103.
    RegisterBrokerRequestHeader<'a> {
        /// Broker name.
        broker_name: Text<'a> => b"brokerName";
        /// Advertised address.
        broker_addr: Text<'a> => b"brokerAddr";
        /// Cluster.
        cluster_name: Text<'a> => b"clusterName";
        /// Address of the replication listener.
        ha_server_addr: Text<'a> => b"haServerAddr";
        /// 0 is the master.
        broker_id: i64 => b"brokerId";
        /// After how many milliseconds without a sign of life the broker is dropped (5.x).
        heartbeat_timeout_millis: Option<i64> => b"heartbeatTimeoutMillis";
        /// Slaves may act as master (5.x).
        enable_acting_master: Option<bool> => b"enableActingMaster";
        /// The body is in the compressed form.
        compressed: bool = false => b"compressed";
        /// CRC-32 of the body with the sign bit cleared; 0 is not checked.
        body_crc32: i32 = 0 => b"bodyCrc32";
    }

    /// Answer to code 103, for a slave.
    RegisterBrokerResponseHeader<'a> {
        /// Replication address of the master.
        ha_server_addr: Option<Text<'a>> => b"haServerAddr";
        /// Address of the master.
        master_addr: Option<Text<'a>> => b"masterAddr";
    }

    /// Code 104.
    UnRegisterBrokerRequestHeader<'a> {
        /// Broker name.
        broker_name: Text<'a> => b"brokerName";
        /// Advertised address.
        broker_addr: Text<'a> => b"brokerAddr";
        /// Cluster.
        cluster_name: Text<'a> => b"clusterName";
        /// 0 is the master.
        broker_id: i64 => b"brokerId";
    }

    /// Code 105.
    GetRouteInfoRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Answer in strict JSON whatever the version.
        accept_standard_json_only: Option<bool> => b"acceptStandardJsonOnly";
    }

    /// Code 205.
    WipeWritePermOfBrokerRequestHeader<'a> {
        /// Broker name.
        broker_name: Text<'a> => b"brokerName";
    }

    /// Answer to code 205.
    WipeWritePermOfBrokerResponseHeader {
        /// Topics changed.
        wipe_topic_count: i32 => b"wipeTopicCount";
    }

    /// Code 327.
    AddWritePermOfBrokerRequestHeader<'a> {
        /// Broker name.
        broker_name: Text<'a> => b"brokerName";
    }

    /// Answer to code 327.
    AddWritePermOfBrokerResponseHeader {
        /// Topics changed.
        add_topic_count: i32 => b"addTopicCount";
    }

    /// Code 216.
    DeleteTopicFromNamesrvRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
        /// Only from this cluster.
        cluster_name: Option<Text<'a>> => b"clusterName";
    }

    /// Code 217 (5.x).
    RegisterTopicRequestHeader<'a> {
        /// Topic.
        topic: Text<'a> => b"topic";
    }

    /// Code 224.
    GetTopicsByClusterRequestHeader<'a> {
        /// Cluster.
        cluster: Text<'a> => b"cluster";
    }

    /// Code 322.
    QueryDataVersionRequestHeader<'a> {
        /// Broker name.
        broker_name: Text<'a> => b"brokerName";
        /// Advertised address.
        broker_addr: Text<'a> => b"brokerAddr";
        /// Cluster.
        cluster_name: Text<'a> => b"clusterName";
        /// 0 is the master.
        broker_id: i64 => b"brokerId";
    }

    /// Answer to code 322.
    QueryDataVersionResponseHeader {
        /// The name server knows another version, or none.
        changed: bool => b"changed";
    }

    /// Code 901 (5.x).
    GetBrokerMemberGroupRequestHeader<'a> {
        /// Cluster.
        cluster_name: Text<'a> => b"clusterName";
        /// Broker name.
        broker_name: Text<'a> => b"brokerName";
    }

    /// Code 904 (5.x).
    BrokerHeartbeatRequestHeader<'a> {
        /// Cluster.
        cluster_name: Text<'a> => b"clusterName";
        /// Advertised address.
        broker_addr: Text<'a> => b"brokerAddr";
        /// Broker name.
        broker_name: Text<'a> => b"brokerName";
        /// 0 is the master.
        broker_id: Option<i64> => b"brokerId";
        /// Epoch of the master the broker follows.
        epoch: Option<i32> => b"epoch";
        /// End of the broker's log.
        max_offset: Option<i64> => b"maxOffset";
        /// Confirmed end of the broker's log.
        confirm_offset: Option<i64> => b"confirmOffset";
        /// After how many milliseconds without a sign of life the broker is dropped.
        heartbeat_timeout_mills: Option<i64> => b"heartbeatTimeoutMills";
        /// Rank in an election.
        election_priority: Option<i32> => b"electionPriority";
    }
}
