//! Where the parameters of a net in training lie: the order in which products read them.
//!
//! A [`Plan`]'s arena has each W row-major; here a W lies in panels ([`Packed`]), so that the forward product and the
//! evaluation read it without a copy, a worker's share of dW is one stretch of memory, and the optimizer, to which
//! order means nothing, streams. The padding of a last panel has gradient 0 and stays 0. Every part begins at a
//! cache line.

use crate::model::{Layer, Plan};
use hpt_kernels::gemm::{Packed, pack, packed_len, panel_width};
use hpt_kernels::isa::Isa;
use hpt_kernels::matrix::Matrix;
use std::ops::Range;

/// Elements of a cache line.
const LINE: usize = 16;

/// Where W and b of a layer lie.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub weights: Range<usize>,
    pub bias: Range<usize>,
    inputs: usize,
    outputs: usize,
}

/// The arena of a net.
#[derive(Clone, Debug)]
pub(super) struct Arena {
    isa: Isa,
    /// One a layer.
    pub areas: Vec<Area>,
    /// Elements, padding included.
    pub len: usize,
}

impl Arena {
    pub fn new(plan: &Plan, isa: Isa) -> Self {
        let mut len = 0;
        let mut take = |elements: usize| {
            let start = len;
            len += elements.next_multiple_of(LINE);
            start..start + elements
        };
        let area = |&Layer { inputs, outputs, .. }: &Layer| Area {
            weights: take(packed_len(isa, inputs, outputs)),
            bias: take(outputs),
            inputs,
            outputs,
        };
        Arena { isa, areas: plan.layers.iter().map(area).collect(), len }
    }

    /// Panels of a layer's W.
    pub fn panels(&self, layer: usize) -> usize {
        self.areas[layer].outputs.div_ceil(panel_width(self.isa))
    }

    /// The columns of those panels.
    pub fn columns(&self, layer: usize, panels: &Range<usize>) -> Range<usize> {
        let (width, outputs) = (panel_width(self.isa), self.areas[layer].outputs);
        (panels.start * width).min(outputs)..(panels.end * width).min(outputs)
    }

    /// Where those panels lie.
    pub fn elements(&self, layer: usize, panels: &Range<usize>) -> Range<usize> {
        let (area, width) = (&self.areas[layer], panel_width(self.isa));
        let at = |panel: usize| area.weights.end.min(area.weights.start + panel * width * area.inputs);
        at(panels.start)..at(panels.end)
    }

    /// Where a panel lies, and how many elements a row of it takes, padding included.
    pub fn panel(&self, layer: usize, panel: usize) -> (usize, usize) {
        let range = self.elements(layer, &(panel..panel + 1));
        (range.start, range.len() / self.areas[layer].inputs)
    }

    /// From the order of the plan to this one.
    pub fn arrange(&self, plan: &Plan, from: &[f32], to: &mut [f32]) {
        for (layer, area) in plan.layers.iter().zip(&self.areas) {
            let w = Matrix::row_major(&from[layer.weights.clone()], layer.inputs, layer.outputs);
            let panels = layer.outputs.div_ceil(panel_width(self.isa));
            pack(self.isa, w, 0..panels, &mut to[area.weights.clone()]);
            to[area.bias.clone()].copy_from_slice(&from[layer.bias.clone()]);
        }
    }

    /// From this order to that of the plan.
    pub fn restore(&self, plan: &Plan, from: &[f32], to: &mut [f32]) {
        for (layer, area) in plan.layers.iter().zip(&self.areas) {
            self.weights(area, &from[area.weights.clone()]).unpack(&mut to[layer.weights.clone()]);
            to[layer.bias.clone()].copy_from_slice(&from[area.bias.clone()]);
        }
    }

    /// W of an area as products read it.
    pub fn weights<'a>(&self, area: &Area, values: &'a [f32]) -> Packed<'a> {
        Packed::new(self.isa, values, area.inputs, area.outputs)
    }
}
