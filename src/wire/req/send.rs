//! Sending: codes 10, 310, 320 and their answer. Java: `SendMessageRequestHeader`, `SendMessageRequestHeaderV2`,
//! `SendMessageResponseHeader`.

use crate::codes::request;
use crate::header::Fields;
use crate::msg_id::MessageId;
use crate::reply::FrameWriter;
use crate::req::FieldError;
use crate::text::Text;

/// A send request in either form: the long names of code 10, or the letters of 310 and 320.
#[derive(Clone, Copy, Debug)]
pub struct SendRequest<'a> {
    /// Producer group.
    pub producer_group: Option<Text<'a>>,
    /// Topic.
    pub topic: Text<'a>,
    /// Topic whose settings a new topic inherits.
    pub default_topic: Option<Text<'a>>,
    /// Queues a new topic gets.
    pub default_topic_queue_nums: Option<i32>,
    /// Queue; negative lets the broker choose.
    pub queue_id: i32,
    /// System flag of the message.
    pub sys_flag: i32,
    /// The producer's time stamp in milliseconds since 1970.
    pub born_timestamp: i64,
    /// The user's flag.
    pub flag: i32,
    /// Properties text.
    pub properties: Option<Text<'a>>,
    /// How often consumption was tried already, in a retry a consumer sends.
    pub reconsume_times: Option<i32>,
    /// Unit mode.
    pub unit_mode: Option<bool>,
    /// Tries until the dead letter queue.
    pub max_reconsume_times: Option<i32>,
    /// The body is a batch.
    pub batch: Option<bool>,
    /// Broker name as the client knows it.
    pub broker_name: Option<Text<'a>>,
}

impl<'a> SendRequest<'a> {
    /// Reads the form that belongs to the request code.
    pub fn decode(code: i32, fields: &Fields<'a>) -> Result<SendRequest<'a>, FieldError> {
        match code {
            request::SEND_MESSAGE | request::SEND_REPLY_MESSAGE => SendRequest::decode_v1(fields),
            _ => SendRequest::decode_v2(fields),
        }
    }

    codec! { decode_v1, encode_v1, 'a, SendMessageRequestHeader, {
        producer_group: Option<Text<'a>> => b"producerGroup";
        topic: Text<'a> => b"topic";
        default_topic: Option<Text<'a>> => b"defaultTopic";
        default_topic_queue_nums: Option<i32> => b"defaultTopicQueueNums";
        queue_id: i32 => b"queueId";
        sys_flag: i32 => b"sysFlag";
        born_timestamp: i64 => b"bornTimestamp";
        flag: i32 => b"flag";
        properties: Option<Text<'a>> => b"properties";
        reconsume_times: Option<i32> => b"reconsumeTimes";
        unit_mode: Option<bool> => b"unitMode";
        max_reconsume_times: Option<i32> => b"maxReconsumeTimes";
        batch: Option<bool> => b"batch";
        broker_name: Option<Text<'a>> => b"bname";
    } }

    codec! { decode_v2, encode_v2, 'a, SendMessageRequestHeaderV2, {
        producer_group: Option<Text<'a>> => b"a";
        topic: Text<'a> => b"b";
        default_topic: Option<Text<'a>> => b"c";
        default_topic_queue_nums: Option<i32> => b"d";
        queue_id: i32 => b"e";
        sys_flag: i32 => b"f";
        born_timestamp: i64 => b"g";
        flag: i32 => b"h";
        properties: Option<Text<'a>> => b"i";
        reconsume_times: Option<i32> => b"j";
        unit_mode: Option<bool> => b"k";
        max_reconsume_times: Option<i32> => b"l";
        batch: Option<bool> => b"m";
        broker_name: Option<Text<'a>> => b"n";
    } }
}

headers! {
    /// The answer to a send, as a client reads it.
    SendMessageResponseHeader<'a> {
        /// Queue the message went to.
        queue_id: i32 => b"queueId";
        /// Unique key of the message (5.x).
        transaction_id: Option<Text<'a>> => b"transactionId";
        /// Offset message ids, joined by commas for a batch.
        msg_id: Text<'a> => b"msgId";
        /// Whether the broker wants traces.
        trace_on: Option<bool> => b"TRACE_ON";
        /// Region of the broker.
        msg_region: Option<Text<'a>> => b"MSG_REGION";
        /// Index in the queue, of the first message of a batch.
        queue_offset: i64 => b"queueOffset";
        /// Unique key of a batch; no broker is known to fill it.
        batch_uniq_id: Option<Text<'a>> => b"batchUniqId";
        /// Handle to recall a timer message (5.x).
        recall_handle: Option<Text<'a>> => b"recallHandle";
    }
}

/// The answer to a send, as the broker writes it; fields come in the order of Java's hash map.
#[derive(Clone, Copy, Debug)]
pub struct SendReply<'a> {
    /// Queue the message went to.
    pub queue_id: i32,
    /// Index in the queue, of the first message of a batch.
    pub queue_offset: i64,
    /// Unique key of the message (5.x).
    pub transaction_id: Option<&'a [u8]>,
    /// Whether the broker wants traces.
    pub trace_on: bool,
    /// Region of the broker.
    pub region: &'a [u8],
    /// Handle to recall a timer message (5.x).
    pub recall_handle: Option<&'a [u8]>,
}

impl SendReply<'_> {
    /// Writes the fields; `ids` are the places of the stored messages.
    pub fn encode(&self, writer: &mut FrameWriter<'_>, ids: impl Iterator<Item = MessageId>) {
        writer.field_i32("queueId", self.queue_id);
        if let Some(id) = self.transaction_id {
            writer.field_str("transactionId", id);
        }
        writer.field_msg_ids("msgId", ids);
        writer.field_bool("TRACE_ON", self.trace_on);
        writer.field_str("MSG_REGION", self.region);
        if let Some(handle) = self.recall_handle {
            writer.field_str("recallHandle", handle);
        }
        writer.field_i64("queueOffset", self.queue_offset);
    }
}
