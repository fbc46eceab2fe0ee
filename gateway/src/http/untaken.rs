//! The body of an answer on a connection that carries many, as one of HTTP/2 does. There a client can stop
//! to take one of them while the connection lives: nothing is written, so no write waits. Without a clock
//! of its own each such answer would hold its read of the cluster, and the memory for it, for as long as
//! the client likes; some hundreds of them, and nobody could read any more.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::activity::Running;

/// Whoever takes nothing for so long gets an error instead of the rest.
pub(super) struct Untaken {
    shared: Arc<Mutex<Offered>>,
    watch: AbortHandle,
}

struct Offered {
    /// None: it was not taken in time.
    body: Option<(Body, Running)>,
    /// When the last bytes were given. None while the body itself is waited for.
    given: Option<Instant>,
}

fn lock(offered: &Mutex<Offered>) -> MutexGuard<'_, Offered> {
    offered.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Untaken {
    /// The request runs until the answer is taken, or given up.
    pub(super) fn new(body: Body, patience: Duration, running: Running) -> Untaken {
        let given = Some(Instant::now());
        let shared = Arc::new(Mutex::new(Offered { body: Some((body, running)), given }));
        let watch = tokio::spawn(watch(Arc::downgrade(&shared), patience)).abort_handle();
        Untaken { shared, watch }
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn watch(offered: Weak<Mutex<Offered>>, patience: Duration) {
    let mut until = Instant::now() + patience;
    loop {
        sleep_until(until).await;
        let Some(offered) = offered.upgrade() else { return };
        let mut offered = lock(&offered);
        let since = offered.given.unwrap_or_else(Instant::now);
        if since.elapsed() >= patience {
            tracing::debug!("an answer that nobody takes is given up");
            offered.body = None;
            return;
        }
        until = since + patience;
    }
}

impl http_body::Body for Untaken {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut offered = lock(&self.shared);
        let Some((body, _)) = &mut offered.body else {
            let error = io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken");
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        };
        let frame = Pin::new(body).poll_frame(context);
        offered.given = frame.is_ready().then(Instant::now);
        frame
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared).body.as_ref().is_some_and(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.shared).body.as_ref().map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::sleep;

    use super::*;
    use crate::body::testing::pipe;
    use crate::http::activity::Activity;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_lets_go_of_what_it_holds() {
        let (bytes, body) = pipe();
        let activity = Activity::new();
        let mut untaken = Untaken::new(body, PATIENCE, activity.begin());
        bytes.send(Ok(Bytes::from_static(b"first"))).unwrap();
        assert!(untaken.frame().await.unwrap().is_ok());
        sleep(PATIENCE + Duration::from_secs(1)).await;
        assert!(bytes.is_closed());
        // Neither does it keep its connection.
        activity.idle(PATIENCE).await;
        assert!(untaken.frame().await.unwrap().is_err(), "it must not end like a whole one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_served_and_is_not_blamed_for_a_slow_cluster() {
        let (bytes, body) = pipe();
        let mut untaken = Untaken::new(body, PATIENCE, Activity::new().begin());
        for _ in 0..5 {
            bytes.send(Ok(Bytes::from_static(b"more"))).unwrap();
            sleep(PATIENCE / 2).await;
            assert!(untaken.frame().await.unwrap().is_ok());
        }
        let late = async {
            sleep(PATIENCE * 3).await;
            bytes.send(Ok(Bytes::from_static(b"late"))).unwrap();
        };
        let (frame, ()) = tokio::join!(untaken.frame(), late);
        assert!(frame.unwrap().is_ok());
    }
}
