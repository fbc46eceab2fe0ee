//! How a command that runs for long is asked to end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Becomes true with the first signal to end. The second ends the process where it stands.
pub(super) fn stop_upon_signal() -> std::io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (asked, stop) = watch::channel(false);
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "asked to stop");
        // Whoever listened may have ended by itself.
        let _ = asked.send(true);
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "asked again: ending at once");
        std::process::exit(i32::from(super::FAILED));
    });
    Ok(stop)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
