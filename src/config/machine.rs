//! What defaults depend on: the facts about machine and environment that the caller collects.

use base::config::Facts;

/// Facts about the machine and the environment.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Home directory of the user.
    pub home: String,
    /// Directory of the installation (ROCKETMQ_HOME).
    pub rocketmq_home: String,
    /// Name servers of the environment (NAMESRV_ADDR), may be empty.
    pub namesrv_addr: String,
    /// Address that others can reach.
    pub local_address: String,
    /// Name of the machine.
    pub host_name: String,
    /// CPUs the process may use, at least 1.
    pub cpus: u32,
}

impl Machine {
    /// The facts by the names that tables use.
    pub fn facts(&self) -> Facts {
        let cpus = u64::from(self.cpus);
        Facts(vec![
            ("home", self.home.clone()),
            ("rocketmqHome", self.rocketmq_home.clone()),
            ("namesrvAddr", self.namesrv_addr.clone()),
            ("localAddress", self.local_address.clone()),
            ("hostName", self.host_name.clone()),
            ("CPUs", cpus.to_string()),
            ("CPUs, at most 4", cpus.min(4).to_string()),
            ("CPUs, at most 32", cpus.min(32).to_string()),
            ("8 + CPUs", (8 + cpus).to_string()),
            ("8 + 2 * CPUs", (8 + 2 * cpus).to_string()),
            ("16 + 2 * CPUs", (16 + 2 * cpus).to_string()),
        ])
    }
}
