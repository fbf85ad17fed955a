//! What has been checked once need not be checked again: a bounded map by full bytes, with expiry.
//!
//! The keys are what clients send, so the hash is keyed at random (SipHash with std's `RandomState`):
//! nobody can choose keys that collide. Looking up 3 kB takes 1 to 3 µs, where SHA-256 takes 20 to 35.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;
use std::rc::Rc;

/// A map in two generations. When the young one is full it becomes the old one, and the old one goes, so
/// what was used lately stays without any order being kept.
pub struct Cache<V> {
    half_entries: usize,
    half_bytes: usize,
    generations: RefCell<Generations<V>>,
}

struct Generations<V> {
    young: HashMap<Vec<u8>, Entry<V>>,
    /// Lengths of the keys of `young`, added up.
    young_bytes: usize,
    old: HashMap<Vec<u8>, Entry<V>>,
}

struct Entry<V> {
    value: Rc<V>,
    expires_ms: u64,
}

impl<V> Cache<V> {
    /// A cache of at most `max_entries` entries whose keys have at most `max_bytes` bytes in all. Each
    /// generation takes half of either; an entry that is too big for one is not kept.
    pub fn new(max_entries: usize, max_bytes: usize) -> Self {
        let generations = Generations { young: HashMap::new(), young_bytes: 0, old: HashMap::new() };
        Self {
            half_entries: max_entries / 2,
            half_bytes: max_bytes / 2,
            generations: RefCell::new(generations),
        }
    }

    /// The value of `key`, if it expires later than `now_ms`.
    pub fn find(&self, key: &[u8], now_ms: u64) -> Option<Rc<V>> {
        let mut generations = self.generations.borrow_mut();
        if let Some(entry) = generations.young.get(key) {
            return (entry.expires_ms > now_ms).then(|| entry.value.clone());
        }
        let (key, entry) = generations.old.remove_entry(key)?;
        if entry.expires_ms <= now_ms {
            return None;
        }
        let value = entry.value.clone();
        self.add(&mut generations, key, entry);
        Some(value)
    }

    /// Keeps `value` for `key` until `expires_ms`, in the place of what was there.
    pub fn insert(&self, key: Vec<u8>, value: Rc<V>, expires_ms: u64) {
        let mut generations = self.generations.borrow_mut();
        if generations.young.remove(&key).is_some() {
            generations.young_bytes = generations.young_bytes.saturating_sub(key.len());
        }
        self.add(&mut generations, key, Entry { value, expires_ms });
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut generations = self.generations.borrow_mut();
        generations.young.clear();
        generations.young_bytes = 0;
        generations.old.clear();
    }

    /// Adds what the young generation does not hold. What the old one may still hold is never asked for
    /// before that, and goes when this one becomes old.
    fn add(&self, generations: &mut Generations<V>, key: Vec<u8>, entry: Entry<V>) {
        if self.half_entries == 0 || key.len() > self.half_bytes {
            return;
        }
        let bytes = generations.young_bytes.saturating_add(key.len());
        if generations.young.len() >= self.half_entries || bytes > self.half_bytes {
            generations.old = mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        generations.young_bytes += key.len();
        generations.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(cache: &Cache<u32>, key: &[u8], now_ms: u64) -> Option<u32> {
        cache.find(key, now_ms).map(|value| *value)
    }

    fn size<V>(cache: &Cache<V>) -> (usize, usize) {
        let generations = cache.generations.borrow();
        let keys = || generations.young.keys().chain(generations.old.keys());
        let young: usize = generations.young.keys().map(Vec::len).sum();
        assert_eq!(generations.young_bytes, young);
        (keys().count(), keys().map(Vec::len).sum())
    }

    #[test]
    fn an_expired_entry_is_never_found() {
        let cache = Cache::new(2, 100);
        cache.insert(b"a".to_vec(), Rc::new(1), 1000);
        assert_eq!(find(&cache, b"a", 999), Some(1));
        assert_eq!(find(&cache, b"a", 1000), None);
        cache.insert(b"b".to_vec(), Rc::new(2), 1000);
        assert_eq!(find(&cache, b"a", 1000), None);
    }

    #[test]
    fn an_older_value_never_comes_back() {
        let cache = Cache::new(4, 100);
        cache.insert(b"a".to_vec(), Rc::new(1), 1000);
        cache.insert(b"b".to_vec(), Rc::new(2), 1000);
        cache.insert(b"c".to_vec(), Rc::new(3), 1000);
        cache.insert(b"a".to_vec(), Rc::new(4), 500);
        assert_eq!(find(&cache, b"a", 499), Some(4));
        assert_eq!(find(&cache, b"a", 500), None);
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = Cache::new(4, 100);
        cache.insert(b"used".to_vec(), Rc::new(0), 1000);
        cache.insert(b"unused".to_vec(), Rc::new(0), 1000);
        for other in 0..100_u32 {
            cache.insert(other.to_be_bytes().to_vec(), Rc::new(other), 1000);
            assert_eq!(find(&cache, b"used", 0), Some(0), "{other}");
        }
        assert_eq!(find(&cache, b"unused", 0), None);
    }

    #[test]
    fn what_is_too_big_is_not_kept() {
        let cache = Cache::new(10, 10);
        cache.insert(vec![1; 6], Rc::new(1), 1000);
        assert_eq!(find(&cache, &[1; 6], 0), None);
        cache.insert(vec![1; 5], Rc::new(1), 1000);
        assert_eq!(find(&cache, &[1; 5], 0), Some(1));
        let none = Cache::new(1, 100);
        none.insert(vec![1], Rc::new(1), 1000);
        assert_eq!(find(&none, &[1], 0), None);
    }

    #[test]
    fn cleared_is_empty() {
        let cache = Cache::new(2, 100);
        cache.insert(b"a".to_vec(), Rc::new(1), 1000);
        cache.insert(b"b".to_vec(), Rc::new(1), 1000);
        cache.clear();
        assert_eq!(size(&cache), (0, 0));
        assert_eq!(find(&cache, b"a", 0), None);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_what_is_found_is_what_was_inserted_last(
            max_entries in 0..10_usize,
            max_bytes in 0..40_usize,
            steps in proptest::collection::vec((any::<bool>(), 0..12_u8, 0..100_u64), 0..200),
        ) {
            let cache = Cache::new(max_entries, max_bytes);
            let mut model = HashMap::new();
            for (index, (insert, name, time)) in steps.into_iter().enumerate() {
                let key = vec![name; usize::from(name)];
                if insert {
                    cache.insert(key.clone(), Rc::new(index), time);
                    model.insert(key, (index, time));
                } else if let Some(found) = cache.find(&key, time) {
                    let (last, expires) = model[&key];
                    prop_assert!(*found == last && expires > time);
                }
                let (entries, bytes) = size(&cache);
                prop_assert!(entries <= max_entries && bytes <= max_bytes);
            }
        }
    }
}
