//! How long products take: for `hpt-engine bench --device cuda product`.

use super::descriptor::{Address, Run, bytes_of, bytes_of_mut};
use super::dispatch::Dispatcher;
use super::memory::{Space, amount};
use super::products::{Pass, Shape};
use super::request::Reply;
use super::round::Round;
use super::tables::Network;
use crate::backend::Precision;
use crate::random::{Purpose, Stream};
use crate::{Error, Result};
use std::time::Instant;

/// A product to be timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// m × n over k: the forward product of a layer without activation.
    pub shape: [usize; 3],
    /// What it is computed with at the least exact.
    pub precision: Precision,
    /// How often.
    pub times: usize,
    /// Networks that have such a product of their own in one launch, of the same x.
    pub models: usize,
    /// The shape of tiles; none: the one that trainings take.
    pub tiles: Option<Shape>,
}

/// What a product took, and how exact it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// Of one launch, of many in a row.
    pub seconds: f64,
    /// ‖y − exact‖ / ‖exact‖ over the first and the last row of the last network.
    pub error: f64,
}

/// The exact element (row, col) of the product of matrices whose elements are these numbers, again and again.
fn exact(numbers: &[f32], [_, n, k]: [usize; 3], row: usize, col: usize) -> f64 {
    let at = |i: usize| f64::from(numbers[i % numbers.len()]);
    (0..k).map(|p| at(row * k + p) * at(p * n + col)).sum()
}

impl Dispatcher {
    /// Times a product; answers none where the device has no kernel with such tiles.
    pub fn time(&mut self, timed: Timed, reply: &Reply<Option<Took>>) -> Result<()> {
        let [m, n, k] = timed.shape;
        let Some(kernel) = self.products.kernel_of(Pass::Forward, timed.shape, timed.precision, timed.tiles) else {
            let _ = reply.send(Ok(None));
            return Ok(());
        };
        let (mut space, models) = (Space::default(), timed.models.max(1));
        let x = space.take(m * k, 4);
        let of_model: Vec<[usize; 2]> =
            (0..models).map(|_| [space.take((k + 1) * n, 4), space.take(m * n, 4)]).collect();
        let place = if self.budget.has(space.0) { self.driver.allocate(space.0)? } else { None };
        let Some(base) = place else {
            let _ = reply.send(Err(Error::TooLarge(format!("a product of {m}×{k}×{n} needs {}", amount(space.0)))));
            return Ok(());
        };
        let mut stream = Stream::new(1, 0, Purpose::Bootstrap, 0);
        // A million numbers, again and again: what they are does not matter, as long as they are not zero.
        let numbers: Vec<f32> = (0..(m * k).max((k + 1) * n).min(1 << 20)).map(|_| stream.normal() as f32).collect();
        for (offset, length) in std::iter::once((x, m * k)).chain(of_model.iter().map(|&[w, _]| (w, (k + 1) * n))) {
            for start in (0..length).step_by(numbers.len()) {
                let part = &numbers[..numbers.len().min(length - start)];
                self.driver.write(base + (offset + 4 * start) as Address, bytes_of(part))?;
            }
        }
        let at = |offset: usize| base + offset as Address;
        let mut round = Round::default();
        for [w, y] in &of_model {
            let network = Network::product(timed.shape, [at(x), at(*w), at(*y)], kernel);
            round.add(&network, network.model);
        }
        let sent = round.send(self.driver.as_mut(), &mut self.buffers)?;
        let run = Run { row_count: m as u32, steps: 1, batch: m as u32, ..Run::default() };
        sent.begin(self.driver.as_mut(), &vec![run; models])?;
        // Without a tick every launch makes the first step.
        let launches: Vec<_> = sent.step.into_iter().filter(|launch| launch.kernel != "tick").collect();
        self.driver.repeat(&launches, 2)?;
        self.driver.synchronize()?;
        let start = Instant::now();
        self.driver.repeat(&launches, timed.times)?;
        self.driver.synchronize()?;
        let seconds = start.elapsed().as_secs_f64() / timed.times.max(1) as f64;
        let (mut off, mut all, mut row) = (0.0, 0.0, vec![0.0f32; n]);
        let y = of_model[models - 1][1];
        for r in [0, m - 1] {
            self.driver.read(at(y) + (4 * r * n) as Address, bytes_of_mut(&mut row))?;
            for (c, &found) in row.iter().enumerate() {
                let wanted = exact(&numbers, timed.shape, r, c);
                // A row of W's length behind W is the bias.
                let wanted = wanted + f64::from(numbers[(k * n + c) % numbers.len()]);
                off += (f64::from(found) - wanted).powi(2);
                all += wanted * wanted;
            }
        }
        self.driver.release(base)?;
        let _ = reply.send(Ok(Some(Took { seconds, error: (off / all).sqrt() })));
        Ok(())
    }
}
