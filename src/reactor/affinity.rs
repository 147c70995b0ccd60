//! Which CPUs the shards run on: the process's affinity mask, narrowed by `shardCount` and `shardCpus`.

/// A CPU number as the kernel counts.
pub type Cpu = usize;

/// CPUs of this process's affinity mask, ascending; at least one.
pub fn allowed_cpus() -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Places `shard_count` shards (0: one per CPU) on `wanted` CPUs (empty: all allowed ones), round robin.
///
/// Errors: a sentence naming a CPU that the mask does not contain.
pub fn place(shard_count: usize, wanted: &[Cpu]) -> Result<Vec<Cpu>, String> {
    let allowed = allowed_cpus();
    if let Some(cpu) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(format!(
            "shardCpus names CPU {cpu}, but this process may run on {allowed:?} only"
        ));
    }
    let cpus = if wanted.is_empty() { &allowed } else { wanted };
    let count = if shard_count == 0 { cpus.len() } else { shard_count };
    Ok(cpus.iter().copied().cycle().take(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_beyond_the_cpus_share_them_in_turn() {
        let allowed = allowed_cpus();
        let placed = place(allowed.len() + 1, &[]).unwrap();
        assert_eq!(placed.len(), allowed.len() + 1);
        assert_eq!(placed[allowed.len()], allowed[0]);
        assert_eq!(place(0, &[]).unwrap(), allowed);
    }

    #[test]
    fn a_cpu_outside_the_mask_is_refused_by_name() {
        assert!(place(1, &[99_999]).unwrap_err().contains("99999"));
    }
}
