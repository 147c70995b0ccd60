// Topics through the admin client: create, read, change, forbid writing, delete, create again.
package ringmq.cases;

import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

@SuppressWarnings("deprecation")
final class TopicAdmin implements Case {
    @Override
    public String name() {
        return "topic-admin";
    }

    @Override
    public String run(Bed bed) throws Exception {
        DefaultMQAdminExt admin = bed.target.admin;
        String topic = bed.topic("Admin", 3);
        Bed.check(admin.fetchAllTopicList().getTopicList().contains(topic), "the list of topics lacks %s", topic);
        var config = admin.examineTopicConfig(bed.target.brokerAddress, topic);
        Bed.same("read queues", 3, config.getReadQueueNums());
        Bed.same("queues with statistics", 3, admin.examineTopicStats(topic).getOffsetTable().size());
        bed.createTopic(topic, 12, Bed.READ_AND_WRITE);
        DefaultMQProducer producer = bed.producer();
        Bed.same("queues after the change", 12, producer.fetchPublishMessageQueues(topic).size());
        MessageQueue last = new MessageQueue(topic, bed.target.broker, 11);
        producer.send(Bed.message(topic, "T", "m0"), last);
        producer.send(Bed.message(topic, "T", "m1"), last);
        Bed.await("end offset in the statistics", 10, () -> admin.examineTopicStats(topic).getOffsetTable().get(last).getMaxOffset() == 2);

        String readOnly = bed.name("ReadOnly");
        bed.createTopic(readOnly, 1, 4);
        Bed.same("queues to write of a read-only topic", 0, writable(producer, readOnly));
        String writeOnly = bed.name("WriteOnly");
        bed.createTopic(writeOnly, 1, 2);
        DefaultMQPullConsumer consumer = bed.pull(bed.name("pullers"));
        MQBrokerException forbidden = Bed.refused("a pull of a write-only topic",
                () -> consumer.pull(new MessageQueue(writeOnly, bed.target.broker, 0), "*", 0, 32));
        Bed.same("code for a pull of a write-only topic", 16, forbidden.getResponseCode());

        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().updateConsumeOffsetToBroker(last, 2, false);
        Bed.same("offset of a group in the topic", 2L, consumer.fetchConsumeOffset(last, true));
        admin.deleteTopicInBroker(Set.of(bed.target.brokerAddress), topic);
        Generation.deleteRoute(admin, bed.target.nameServer, bed.target.cluster, topic);
        Bed.await("no route after the deletion", 15, () -> bed.routeQueues(topic) == -1);
        Bed.check(!admin.fetchAllTopicList().getTopicList().contains(topic), "the list of topics still has %s", topic);
        Bed.same("code for a pull of a deleted topic", 17, Bed.refused("a pull of a deleted topic", () -> consumer.pull(last, "*", 0, 32)).getResponseCode());

        bed.createTopic(topic, 12, Bed.READ_AND_WRITE);
        Bed.same("end of a topic created again", 0L, consumer.maxOffset(last));
        // 4.9.7 forgets the messages, but not how far groups are. Else the group is where one is that never was there: nowhere
        // in 5.5.0, at the beginning of an empty queue in 4.9.7, which we keep to.
        long unknown = bed.pull(bed.name("strangers")).fetchConsumeOffset(last, true);
        Bed.check(unknown == 0 || unknown == -1, "a group that never was there is at %d", unknown);
        Bed.same("offset of a group in a topic created again", bed.target.old ? 2L : unknown, consumer.fetchConsumeOffset(last, true));
        Bed.same("pull of a topic created again", PullStatus.NO_NEW_MSG, consumer.pull(last, "*", 0, 32).getPullStatus());
        Bed.same("offset in a topic created again", 0L, producer.send(Bed.message(topic, "T", "m2"), last).getQueueOffset());
        return "created, changed, deleted, created again empty; write-only: " + forbidden.getErrorMessage();
    }

    private static int writable(DefaultMQProducer producer, String topic) {
        try {
            return producer.fetchPublishMessageQueues(topic).size();
        } catch (MQClientException e) {
            return 0;
        }
    }
}
