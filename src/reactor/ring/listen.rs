//! Listeners of the ring: multishot accepts, a pause after one that failed.

use super::keys::{KIND_ACCEPT, key};
use super::{Listener, Reactor};
use base::time::MonoNs;
use std::net::TcpListener;

impl Reactor {
    /// Accepts connections of `socket` from the next turn on; `tag` comes back in events.
    pub fn listen(&mut self, socket: TcpListener, tag: u16) {
        let retry_at = MonoNs(0);
        self.listeners.push(Listener { socket, tag, armed: false, wanted: true, retry_at });
    }

    /// When a listener that failed wants a turn, to try again.
    pub fn next_deadline(&self) -> Option<MonoNs> {
        let waiting = self.listeners.iter().filter(|l| l.wanted && !l.armed);
        waiting.map(|l| l.retry_at).min()
    }

    /// Stops accepting on all listeners and closes those that are idle.
    pub fn stop_listening(&mut self) {
        for at in 0..self.listeners.len() {
            self.listeners[at].wanted = false;
            if self.listeners[at].armed {
                self.cancel(key(KIND_ACCEPT, u32::try_from(at).expect("few listeners")));
            }
        }
    }
}
