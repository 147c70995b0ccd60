// Consumer groups through the admin client: create, list, change, see who is connected, delete.
package ringmq.cases;

import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class GroupAdmin implements Case {
    private static final int GET_CONSUMER_LIST_BY_GROUP = 38;
    private static final int DEFAULT_RETRIES = 16;

    @Override
    public String name() {
        return "group-admin";
    }

    @Override
    public String run(Bed bed) throws Exception {
        DefaultMQAdminExt admin = bed.target.admin;
        String address = bed.target.brokerAddress;
        String group = bed.name("managed");
        admin.createAndUpdateSubscriptionGroupConfig(address, Generation.group(group, 5, 2, false));
        var found = admin.examineSubscriptionGroupConfig(address, group);
        Bed.same("retries", 5, found.getRetryMaxTimes());
        Bed.same("retry queues", 2, found.getRetryQueueNums());
        Bed.same("broadcast allowed", false, found.isConsumeBroadcastEnable());
        Bed.check(listed(bed, group), "the list of groups lacks %s", group);
        admin.createAndUpdateSubscriptionGroupConfig(address, Generation.group(group, 9, 2, true));
        Bed.same("retries after the change", 9, admin.examineSubscriptionGroupConfig(address, group).getRetryMaxTimes());

        MQBrokerException offline = Bed.refused("connections of a group without consumers", () -> admin.examineConsumerConnectionInfo(group, address));
        Bed.same("code for a group without consumers", 206, offline.getResponseCode());
        String topic = bed.topic("Managed", 2);
        DefaultMQPushConsumer consumer = bed.push(group);
        Ledger ledger = new Ledger();
        consumer.subscribe(topic, "A || B");
        ledger.listen(consumer, "one");
        consumer.start();
        Bed.await("the consumer in the list of connections", 20, () -> connected(bed, group) == 1);
        var connection = admin.examineConsumerConnectionInfo(group, address);
        Bed.same("subscription", "A || B", connection.getSubscriptionTable().get(topic).getSubString());
        String clientId = connection.getConnectionSet().iterator().next().getClientId();
        RemotingCommand members = bed.target.ask(GET_CONSUMER_LIST_BY_GROUP, Map.of("consumerGroup", group), null);
        Bed.check(Bed.text(members.getBody()).contains("\"" + clientId + "\""), "members %s lack %s", Bed.text(members.getBody()), clientId);
        Bed.same("queues of the retry topic", 2, admin.examineTopicConfig(address, "%RETRY%" + group).getReadQueueNums());
        consumer.shutdown();
        Bed.await("no connection after the consumer left", 20, () -> connected(bed, group) == 0);

        String unused = bed.name("unused");
        admin.createAndUpdateSubscriptionGroupConfig(address, Generation.group(unused, 5, 2, false));
        Bed.check(listed(bed, unused), "the list of groups lacks %s", unused);
        admin.deleteSubscriptionGroup(address, unused);
        // 5.5.0 makes the group again, with default values, while it deletes it; only with `cleanOffset`, which older clients call otherwise, it does not.
        Bed.check(!listed(bed, unused) || retries(bed, unused) == DEFAULT_RETRIES, "the list of groups still has %s", unused);
        return "created, listed, changed, deleted; member seen and gone; without consumers: " + offline.getErrorMessage();
    }

    private static boolean listed(Bed bed, String group) throws Exception {
        return bed.target.admin.getAllSubscriptionGroup(bed.target.brokerAddress, Target.REQUEST_TIMEOUT_MS).getSubscriptionGroupTable().containsKey(group);
    }

    private static int retries(Bed bed, String group) throws Exception {
        return bed.target.admin.getAllSubscriptionGroup(bed.target.brokerAddress, Target.REQUEST_TIMEOUT_MS).getSubscriptionGroupTable().get(group)
                .getRetryMaxTimes();
    }

    private static int connected(Bed bed, String group) throws Exception {
        try {
            return bed.target.admin.examineConsumerConnectionInfo(group, bed.target.brokerAddress).getConnectionSet().size();
        } catch (MQBrokerException e) {
            Bed.same("code", 206, e.getResponseCode());
            return 0;
        }
    }
}
