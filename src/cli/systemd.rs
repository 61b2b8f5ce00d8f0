//! What the server tells systemd (sd_notify(3)): that it answers. `systemctl start` returns then, and what is ordered after the unit begins then.

use std::os::unix::net::UnixDatagram;
use std::{env, io};

/// Says that the server is ready, if somebody waits for it.
///
/// # Errors
/// The socket that `NOTIFY_SOCKET` names does not take it.
pub fn ready() -> io::Result<()> {
    if let Some(path) = env::var_os("NOTIFY_SOCKET") {
        UnixDatagram::unbound()?.send_to(b"READY=1", path)?;
    }
    Ok(())
}
