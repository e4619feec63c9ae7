//! Queues, circles, and what is given back when.

use super::*;
use LockMode::{Exclusive, Shared};
use LockScope::{Session, Transaction};

fn key(object: u32) -> LockKey {
    LockKey {
        database: 1,
        class: 0,
        object,
        kind: 1,
    }
}

fn waiting(requested: Requested) -> Ticket {
    match requested {
        Requested::Waiting(ticket) => ticket,
        Requested::Granted => panic!("granted"),
    }
}

#[tokio::test]
async fn waiters_are_served_in_order_and_may_give_up() {
    let locks = Arc::new(AdvisoryLocks::default());
    assert!(locks.try_lock(key(1), 1, Shared, Session).unwrap());
    let two = waiting(locks.request(key(1), 2, Exclusive, Session).unwrap());
    // A shared request does not overtake an exclusive one, unless its session has the lock.
    assert!(!locks.try_lock(key(1), 3, Shared, Session).unwrap());
    assert!(locks.try_lock(key(1), 1, Shared, Session).unwrap());
    let three = waiting(locks.request(key(1), 3, Shared, Session).unwrap());
    drop(two);
    three.granted().await;
    assert!(locks.unlock(key(1), 3, Shared));
    assert!(locks.unlock(key(1), 1, Shared));
    assert!(locks.unlock(key(1), 1, Shared));
    assert!(!locks.unlock(key(1), 1, Shared));
    assert!(locks.rows().is_empty());
}

#[tokio::test]
async fn a_granted_ticket_that_nobody_took_is_given_back() {
    let locks = Arc::new(AdvisoryLocks::default());
    assert!(locks.try_lock(key(1), 1, Exclusive, Session).unwrap());
    let two = waiting(locks.request(key(1), 2, Exclusive, Transaction).unwrap());
    locks.end_session(1);
    drop(two);
    assert!(locks.try_lock(key(1), 3, Exclusive, Session).unwrap());
}

#[test]
fn circles_are_refused() {
    let locks = Arc::new(AdvisoryLocks::default());
    assert!(locks.try_lock(key(1), 1, Exclusive, Session).unwrap());
    assert!(locks.try_lock(key(2), 2, Exclusive, Session).unwrap());
    let _two = waiting(locks.request(key(1), 2, Exclusive, Session).unwrap());
    let refused = locks.request(key(2), 1, Exclusive, Session).err();
    assert_eq!(refused.map(|error| error.code), Some("40P01"));
}

#[test]
fn transactions_give_back_what_they_took_since_a_savepoint() {
    let locks = AdvisoryLocks::default();
    assert!(locks.try_lock(key(1), 1, Exclusive, Transaction).unwrap());
    let mark = locks.mark(1);
    assert!(locks.try_lock(key(2), 1, Exclusive, Transaction).unwrap());
    assert!(locks.try_lock(key(3), 1, Exclusive, Session).unwrap());
    locks.release_since(1, mark);
    let held: Vec<_> = locks.rows().iter().map(|row| row.key.object).collect();
    assert_eq!(held, [1, 3]);
    locks.release_since(1, 0);
    assert_eq!(locks.rows().len(), 1);
    locks.end_session(1);
    assert!(locks.rows().is_empty());
}
