// Names that no topic may have, and topics that belong to the broker, are refused by the broker itself, for a send as for a creation.
package ringmq.cases;

import java.util.Map;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class IllegalTopic implements Case {
    private static final int CREATE_TOPIC = 17;
    private static final int MAX_NAME = 127;

    @Override
    public String name() {
        return "illegal-topic";
    }

    @Override
    public String run(Bed bed) throws Exception {
        int illegal = bed.target.old ? 1 : 29;
        String[] names = {"with space", "dot.ted", "sla/sh", "标题", "new\nline"};
        for (String topic : names) {
            expect("a send to " + topic, SendByHand.send(bed, topic, Bed.bytes("x"), Map.of()), illegal, "contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$");
            expect("creation of " + topic, create(bed, topic), illegal, "contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$");
        }
        String tooLong = "x".repeat(MAX_NAME + 1);
        expect("a send to a long name", SendByHand.send(bed, tooLong, Bed.bytes("x"), Map.of()), illegal, "is longer than topic max length");
        expect("creation of a long name", create(bed, tooLong), illegal, "is longer than topic max length");
        // In binary headers an empty text is none, and Java trips over that: any refusal will do.
        Bed.check(create(bed, "").getCode() != 0, "a topic without a name was made");
        String longest = bed.name("L".repeat(100));
        longest += "x".repeat(MAX_NAME - longest.length());
        expect("creation of the longest name", create(bed, longest), 0, "");
        expect("a send to the longest name", SendByHand.send(bed, longest, Bed.bytes("x"), Map.of()), 0, "");

        RemotingCommand system = SendByHand.send(bed, "SCHEDULE_TOPIC_XXXX", Bed.bytes("x"), Map.of());
        expect("a send to the schedule topic", system, 16, "Sending message to topic[SCHEDULE_TOPIC_XXXX] is forbidden.");
        expect("creation of the schedule topic", create(bed, "SCHEDULE_TOPIC_XXXX"), illegal, "conflict with system topic");
        for (String topic : names) {
            Bed.check(!bed.target.admin.fetchAllTopicList().getTopicList().contains(topic), "the topic %s was made", topic);
        }
        return names.length + 2 + " names refused with code " + illegal + ", system topic with 16, the longest name taken";
    }

    private static void expect(String what, RemotingCommand answer, int code, String remark) {
        Bed.check(answer.getCode() == code && String.valueOf(answer.getRemark()).contains(code == 0 ? "" : remark), "%s: expected code %d \"%s\", found %d \"%s\"",
                what, code, remark, answer.getCode(), answer.getRemark());
    }

    private static RemotingCommand create(Bed bed, String topic) throws Exception {
        return bed.target.ask(CREATE_TOPIC, Map.of("topic", topic, "defaultTopic", "TBW102", "readQueueNums", "4", "writeQueueNums", "4", "perm", "6",
                "topicFilterType", "SINGLE_TAG", "topicSysFlag", "0", "order", "false"), null);
    }
}
