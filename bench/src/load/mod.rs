//! Load on one address, from one thread: as fast as the server answers (closed loop), or at a fixed
//! arrival rate (open loop).
//!
//! In the open loop a request arrives when its time has come, whether or not the server has answered
//! those before it, and its latency counts from that instant: a server that stalls is charged for
//! everybody who came meanwhile (no coordinated omission).

mod connection;
mod latency;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::retry_on_intr;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::Result;
use connection::Connection;
pub(crate) use latency::Latencies;

/// How long after the last arrival an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

const TIMER: u64 = u64::MAX;

/// What is sent, one after the other.
#[derive(Debug)]
pub(crate) struct Requests {
    all: Vec<Vec<u8>>,
    next: usize,
    /// Whether a request may be sent again, once all have been.
    again: bool,
}

impl Requests {
    /// These, over and over.
    pub(crate) fn repeated(all: Vec<Vec<u8>>) -> Self {
        Self { all, next: 0, again: true }
    }

    /// Each of these once; running out is an error.
    pub(crate) fn once(all: Vec<Vec<u8>>) -> Self {
        Self { all, next: 0, again: false }
    }

    fn take(&mut self) -> Result<usize> {
        if self.next >= self.all.len() {
            if !self.again || self.all.is_empty() {
                return Err("no request is left that was not sent before".into());
            }
            self.next = 0;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    fn bytes(&self, number: usize) -> &[u8] {
        self.all.get(number).map_or(&[], Vec::as_slice)
    }
}

/// What a correct answer is.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) status: u16,
    /// `None`: any.
    pub(crate) body: Option<&'static [u8]>,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each connection sends its next request when its last one is answered, for so long.
    Saturating(Duration),
    /// The same, for so many requests.
    Counted(usize),
    /// So many a second, evenly spaced, for so long.
    Fixed(f64, Duration),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answers: usize,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    pub(crate) latencies: Latencies,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// The first answer that is not the expected one.
    pub(crate) wrong: Option<String>,
}

impl Outcome {
    /// Itself, if every answer was the expected one.
    pub(crate) fn correct(self) -> Result<Self> {
        match &self.wrong {
            Some(wrong) => Err(format!("a wrong answer: {wrong}; by status: {:?}", self.statuses).into()),
            None => Ok(self),
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }
}

/// Open connections to a server.
#[derive(Debug)]
pub(crate) struct Load {
    poll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
}

/// What is still to be sent.
struct Plan {
    start: Instant,
    until: Option<Instant>,
    left: Option<usize>,
    /// Open loop: the time between two arrivals, the number of the next, and those that wait for a
    /// connection.
    interval: Option<Duration>,
    arrivals: u32,
    waiting: VecDeque<Instant>,
}

impl Plan {
    fn new(pace: Pace) -> Self {
        let start = Instant::now();
        let mut plan =
            Self { start, until: None, left: None, interval: None, arrivals: 0, waiting: VecDeque::new() };
        match pace {
            Pace::Saturating(time) => plan.until = Some(start + time),
            Pace::Counted(requests) => plan.left = Some(requests),
            Pace::Fixed(rate, time) => {
                plan.until = Some(start + time);
                plan.interval = Some(Duration::from_secs_f64(1.0 / rate));
            }
        }
        plan
    }

    /// When the next request arrives, while any is to come.
    fn next_arrival(&self) -> Option<Instant> {
        let due = self.start + self.interval? * self.arrivals;
        self.until.is_none_or(|until| due < until).then_some(due)
    }

    fn let_arrive(&mut self, now: Instant) {
        while let Some(due) = self.next_arrival().filter(|due| *due <= now) {
            self.waiting.push_back(due);
            self.arrivals += 1;
        }
    }

    /// When the request arrived that an idle connection is to send now.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        if self.interval.is_some() {
            return self.waiting.pop_front();
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        self.until.is_none_or(|until| now < until).then_some(now)
    }

    fn is_done(&self, now: Instant) -> bool {
        match self.interval {
            Some(_) => self.next_arrival().is_none() && self.waiting.is_empty(),
            None => self.left == Some(0) || self.until.is_some_and(|until| now >= until),
        }
    }
}

impl Load {
    /// Opens the connections.
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Not poll's own timeout, which counts in milliseconds.
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        epoll::add(&poll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        let connections =
            (0..connections).map(|id| Connection::open(address, &poll, id)).collect::<Result<_>>()?;
        Ok(Self { poll, timer, connections })
    }

    /// Runs to the end of the pace.
    pub(crate) fn run(
        &mut self,
        requests: &mut Requests,
        expected: &Expected,
        pace: Pace,
    ) -> Result<Outcome> {
        let mut idle: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut plan = Plan::new(pace);
        let mut outcome = Outcome {
            answers: 0,
            elapsed: Duration::ZERO,
            latencies: Latencies::default(),
            statuses: BTreeMap::new(),
            wrong: None,
        };
        let (mut in_flight, mut last) = (0_usize, plan.start);
        let mut events = Vec::with_capacity(256);
        loop {
            let now = Instant::now();
            plan.let_arrive(now);
            while !idle.is_empty() {
                let Some(arrival) = plan.take(now) else { break };
                let Some(id) = idle.pop_front() else { break };
                let Some(connection) = self.connections.get_mut(id) else { break };
                connection.send(&self.poll, id, requests, arrival)?;
                in_flight += 1;
            }
            if in_flight == 0 && plan.is_done(now) {
                outcome.elapsed = last.duration_since(plan.start);
                return Ok(outcome);
            }
            self.set_timer(plan.next_arrival().map(|due| due.saturating_duration_since(now)))?;
            events.clear();
            let a_second = Timespec { tv_sec: 1, tv_nsec: 0 };
            retry_on_intr(|| epoll::wait(&self.poll, spare_capacity(&mut events), Some(&a_second)))?;
            for event in &events {
                let Ok(id) = usize::try_from(event.data.u64()) else { continue };
                let Some(connection) = self.connections.get_mut(id) else { continue };
                let Some(answer) = connection.turn(&self.poll, id, requests, expected)? else { continue };
                last = Instant::now();
                outcome.answers += 1;
                outcome.latencies.push(last.duration_since(answer.arrival));
                *outcome.statuses.entry(answer.status).or_default() += 1;
                outcome.wrong = outcome.wrong.or(answer.wrong);
                in_flight -= 1;
                idle.push_back(id);
            }
            let overdue = plan.until.unwrap_or(last).max(last) + PATIENCE;
            if Instant::now() > overdue {
                return Err(format!("{in_flight} requests are not answered after {PATIENCE:?}").into());
            }
        }
    }

    fn set_timer(&self, after: Option<Duration>) -> Result<()> {
        // Zero would switch it off; what is due already is due in a nanosecond.
        let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value =
            Timespec { tv_sec: i64::try_from(after.as_secs())?, tv_nsec: i64::from(after.subsec_nanos()) };
        let timer = Itimerspec { it_interval: none, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
