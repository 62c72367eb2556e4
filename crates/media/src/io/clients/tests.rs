use std::sync::mpsc;
use std::time::Duration;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// These count the threads of the process.
static ALONE: Mutex<()> = Mutex::new(());

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.filter_map(|task| name(task.ok()?));
    names.filter(|name| name.starts_with("roomful-rtc")).count()
}

#[test]
fn clients_share_their_threads_and_the_last_takes_them_along() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
    other.call(|client, now| {
        client.open_channels(now);
        client.negotiate();
    });
    wakes.recv_timeout(SOON).unwrap();
    // Both run, so that they have their names.
    assert_eq!(threads(), 2);
    drop(one);
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

#[test]
fn a_client_that_faults_has_said_goodbye() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let poll = Poll::new().unwrap();
    let (worker, mail) = Postbox::new(&Bell::new(&poll).unwrap());
    let exchange = Arc::<Exchange>::default();
    exchange.set_workers(vec![worker]);
    let setup = ClientSetup {
        single: false,
        exchange: Some(exchange),
    };
    let (woken, wakes) = mpsc::channel();
    let wake = move || {
        let _ = woken.send(());
    };
    let client = ClientHandle::open(&setup, wake).unwrap();
    client.call(|_, _| panic!("a fault of this client"));
    wakes.recv_timeout(SOON).unwrap();
    let events = client.inbox().take();
    assert!(matches!(events.front(), Some(ClientEvent::Fault { .. })));
    drop(client);
    let goodbyes = std::iter::from_fn(|| mail.take());
    assert_eq!(goodbyes.count(), 2);
}

#[test]
fn a_client_in_a_fork_touches_nothing_of_its_parents() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut hub = Hub::start().unwrap();
    hub.process = hub.process.wrapping_add(1);
    let inbox = Arc::new(Inbox::new(usize::MAX, || {}));
    let client = ClientHandle {
        id: 0,
        hub: Arc::new(hub),
        inbox: Arc::clone(&inbox),
        backlogs: Vec::new(),
        bound: Vec::new(),
        local: false,
    };
    let hub = Arc::clone(&client.hub);
    let (done, dropped) = mpsc::channel();
    std::thread::spawn(move || {
        // Locked, as it is for ever where the parent held it.
        inbox_locked(&inbox, || drop(client));
        let _ = done.send(inbox.is_closed());
    });
    assert_eq!(dropped.recv_timeout(SOON), Ok(false));
    let mut hub = Arc::into_inner(hub).unwrap();
    hub.process = std::process::id();
}

fn inbox_locked(inbox: &Arc<Inbox<ClientEvent>>, act: impl FnOnce()) {
    Notifier::default().change(inbox, |_| act());
}
