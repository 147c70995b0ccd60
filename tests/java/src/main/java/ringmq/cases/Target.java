// The installation under test: its addresses and one admin client shared by all cases of this JVM.
package ringmq.cases;

import java.util.Map;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.SerializeType;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Target implements AutoCloseable {
    static final long REQUEST_TIMEOUT_MS = 10_000;

    final String nameServer;
    final int messages;
    /** The answers of 4.9.7 are expected where those of 5.5.0 are different. */
    final boolean old;
    final String stateFile;
    final DefaultMQAdminExt admin;
    final String cluster;
    final String broker;
    final String brokerAddress;
    private final DefaultMQProducer plain;

    Target(String nameServer, int messages, boolean old, String stateFile) throws Exception {
        this.nameServer = nameServer;
        this.messages = messages;
        this.old = old;
        this.stateFile = stateFile;
        admin = new DefaultMQAdminExt(REQUEST_TIMEOUT_MS);
        admin.setNamesrvAddr(nameServer);
        admin.setInstanceName("admin-" + Bed.unique());
        admin.start();
        plain = new DefaultMQProducer("plain-" + Bed.unique());
        plain.setNamesrvAddr(nameServer);
        plain.setInstanceName("plain-" + Bed.unique());
        plain.start();
        Bed.await("a broker registered at " + nameServer, 40, () -> !admin.examineBrokerClusterInfo().getBrokerAddrTable().isEmpty());
        var entry = admin.examineBrokerClusterInfo().getBrokerAddrTable().entrySet().iterator().next();
        broker = entry.getKey();
        brokerAddress = entry.getValue().getBrokerAddrs().get(0L);
        cluster = entry.getValue().getCluster();
    }

    /** Sends one request as it is, past the checks that the client makes before it sends. */
    RemotingCommand ask(int code, Map<String, String> fields, byte[] body) throws Exception {
        return ask(RemotingCommand.getSerializeTypeConfigInThisServer(), code, fields, body);
    }

    RemotingCommand ask(SerializeType format, int code, Map<String, String> fields, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, null);
        request.setSerializeTypeCurrentRPC(format);
        for (var field : fields.entrySet()) {
            request.addExtField(field.getKey(), field.getValue());
        }
        request.setBody(body);
        return plain.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl().getRemotingClient()
                .invokeSync(brokerAddress, request, REQUEST_TIMEOUT_MS);
    }

    @Override
    public void close() {
        plain.shutdown();
        admin.shutdown();
    }
}
