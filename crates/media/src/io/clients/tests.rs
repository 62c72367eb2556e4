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
}
