//! The management API: Atom over HTTP.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::listener::{Control, Host, Prefixed};

pub(super) async fn serve(
    _stream: Prefixed,
    _host: Arc<Host>,
    _control: watch::Receiver<Control>,
) -> io::Result<()> {
    Ok(())
}
