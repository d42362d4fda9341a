//! Ctrl-C: the first asks for an end, the second one ends.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What shells report of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Whether somebody has asked for an end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    is_asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on. Where that is not possible, Ctrl-C ends the program as ever.
    pub(crate) fn listen() -> Self {
        let interrupt = Self::default();
        let is_asked = Arc::clone(&interrupt.is_asked);
        let listener = thread::Builder::new().name("ctrl-c".to_owned());
        // A thread of its own, which ends with the program.
        let _ = listener.spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build()
            else {
                return;
            };
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    if is_asked.swap(true, Ordering::Relaxed) {
                        process::exit(INTERRUPTED);
                    }
                    eprintln!("\n... Ending with the runs that are under way; Ctrl-C ends at once");
                }
            });
        });
        interrupt
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }
}
