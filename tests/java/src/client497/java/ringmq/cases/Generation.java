// What differs in package only between the client generations, here for 4.9.7.
package ringmq.cases;

import java.util.Set;
import org.apache.rocketmq.common.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Generation {
    private Generation() {}

    static void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    static void deleteRoute(DefaultMQAdminExt admin, String nameServer, String cluster, String topic) throws Exception {
        // This generation takes the topic before the cluster.
        admin.deleteTopicInNameServer(Set.of(nameServer), topic, cluster);
    }

    static SubscriptionGroupConfig group(String name, int retryMaxTimes, int retryQueues, boolean broadcast) {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(name);
        config.setRetryMaxTimes(retryMaxTimes);
        config.setRetryQueueNums(retryQueues);
        config.setConsumeBroadcastEnable(broadcast);
        return config;
    }
}
