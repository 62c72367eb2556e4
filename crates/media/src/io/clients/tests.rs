use std::sync::mpsc;
use std::time::Duration;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.filter_map(|task| name(task.ok()?));
    names.filter(|name| name.starts_with("roomful-rtc")).count()
}

#[test]
fn clients_share_their_threads_and_the_last_takes_them_along() {
    let (woken, wakes) = mpsc::channel();
    let open = || {
        let woken = woken.clone();
        let setup = ClientSetup {
            single: true,
            exchange: None,
        };
        ClientHandle::open(&setup, move || {
            let _ = woken.send(());
        })
        .unwrap()
    };
    let (one, other) = (open(), open());
    assert_eq!(threads(), 2);
    drop(one);
    other.call(|client, now| {
        client.open_channels(now);
        client.negotiate();
    });
    wakes.recv_timeout(SOON).unwrap();
    let events = other.inbox().take();
    let Some(ClientEvent::Description { sdp, .. }) = events.front() else {
        panic!("{events:?}");
    };
    assert!(sdp.contains("m=application"));
    drop(other);
    assert_eq!(threads(), 0);
    drop(open());
    assert_eq!(threads(), 0);
    the_last_may_go_in_its_own_wake_up();
}

/// Part of the other test, as it counts threads too.
fn the_last_may_go_in_its_own_wake_up() {
    let (gone, done) = mpsc::channel();
    let last: Arc<Mutex<Option<ClientHandle>>> = Arc::default();
    let setup = ClientSetup {
        single: true,
        exchange: None,
    };
    let of_wake = Arc::clone(&last);
    let handle = ClientHandle::open(&setup, move || {
        let last = of_wake.lock().unwrap().take();
        drop(last);
        let _ = gone.send(());
    });
    let mut kept = last.lock().unwrap();
    let handle = kept.insert(handle.unwrap());
    handle.call(|client, now| {
        client.open_channels(now);
        client.negotiate();
    });
    drop(kept);
    done.recv_timeout(SOON).unwrap();
    let end = Instant::now() + SOON;
    while threads() > 0 {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
}
