// A message to a topic that does not exist makes the topic, with as many queues as the producer asks for.
package ringmq.cases;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;

final class AutoTopic implements Case {
    @Override
    public String name() {
        return "auto-topic";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String usual = bed.name("AutoUsual");
        String six = bed.name("AutoSix");
        String many = bed.name("AutoMany");
        DefaultMQProducer producer = bed.producer();
        SendResult first = producer.send(Bed.message(usual, "T", "m0"));
        Bed.same("offset in a new topic", 0L, first.getQueueOffset());
        producer.setDefaultTopicQueueNums(6);
        producer.send(Bed.message(six, "T", "m0"));
        producer.setDefaultTopicQueueNums(100);
        producer.send(Bed.message(many, "T", "m0"));
        checkTopic(bed, usual, 4);
        checkTopic(bed, six, 6);
        checkTopic(bed, many, 8);
        Ledger ledger = new Ledger();
        DefaultMQPushConsumer consumer = bed.push(bed.name("auto"));
        consumer.subscribe(usual, "*");
        ledger.listen(consumer, "one");
        consumer.start();
        Bed.await("the message that made the topic", 30, () -> ledger.distinct() == 1);
        return "made with 4, 6 and (100 asked) 8 queues; consumed";
    }

    private static void checkTopic(Bed bed, String topic, int queues) throws Exception {
        Bed.await("route of " + topic + " with " + queues + " queues", 20, () -> bed.routeQueues(topic) == queues);
        var config = bed.target.admin.examineTopicConfig(bed.target.brokerAddress, topic);
        Bed.same("write queues of " + topic, queues, config.getWriteQueueNums());
        Bed.same("permission of " + topic, Bed.READ_AND_WRITE, config.getPerm());
    }
}
