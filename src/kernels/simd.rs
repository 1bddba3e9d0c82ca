//! Which instructions the kernels use.
//!
//! A kernel is written once, as plain loops over slices, and compiled for several instruction sets. When the program
//! runs, the best one that the processor has is chosen. The library `pulp` detects it and switches to it; the
//! compiler vectorises the loops.

use crate::error::{Error, Result};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A set of instructions that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Instructions {
    /// What every processor of the architecture has. On x86-64 that is SSE2, without fused
    /// multiply-add; on aarch64 it is NEON, with it.
    Baseline,
    /// AVX2 with fused multiply-add (x86-64-v3).
    Avx2,
    /// AVX-512 (x86-64-v4).
    Avx512,
}

impl Instructions {
    /// All that this processor has, the best one last.
    pub fn available() -> Vec<Instructions> {
        #[allow(unused_mut)] // other architectures have the baseline only
        let mut available = vec![Instructions::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            if pulp::x86::V3::is_available() {
                available.push(Instructions::Avx2);
            }
            if pulp::x86::V4::is_available() {
                available.push(Instructions::Avx512);
            }
        }
        available
    }
}

/// 0: not chosen yet; otherwise 1 + the index in the enum.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instructions that kernels use: the best ones available, unless others were [chosen](choose).
pub fn chosen() -> Instructions {
    match CHOSEN.load(Relaxed) {
        1 => Instructions::Baseline,
        2 => Instructions::Avx2,
        3 => Instructions::Avx512,
        _ => {
            let best = Instructions::available().pop().unwrap_or(Instructions::Baseline);
            CHOSEN.store(1 + best as u8, Relaxed);
            best
        }
    }
}

/// Makes kernels use these instructions from now on, in the whole process.
///
/// The results of one instruction set are the same bits on every processor that has it, and for any number of
/// threads. Those of two sets may differ in the last bit, because a fused multiply-add rounds once. Ask for the
/// baseline to get the same bits on all x86-64 processors. The baseline of aarch64 has the fused multiply-add, and so
/// bits of its own. Matrix products choose their instructions themselves.
///
/// # Errors
/// [`Error::Argument`] if this processor does not have them.
pub fn choose(instructions: Instructions) -> Result<()> {
    if !Instructions::available().contains(&instructions) {
        let (value, allowed) = (format!("{instructions:?}"), "among Instructions::available()");
        return Err(Error::Argument { op: "instructions::choose", name: "instructions", value, allowed });
    }
    CHOSEN.store(1 + instructions as u8, Relaxed);
    Ok(())
}

/// `a * b + c`, rounded once where the processor can do so, and twice elsewhere: to emulate the fused operation, a
/// library function would be called for every element.
pub(crate) trait MulAdd: Copy {
    /// Whether `mul_add` rounds once.
    const IS_FUSED: bool;

    fn mul_add<F: num_traits::Float>(a: F, b: F, c: F) -> F;

    /// What the rounding of `product = a * b` left out.
    fn product_error(a: f64, b: f64, product: f64) -> f64;
}

#[derive(Clone, Copy)]
pub(crate) struct Fused;

#[derive(Clone, Copy)]
pub(crate) struct Separate;

impl MulAdd for Fused {
    const IS_FUSED: bool = true;
    #[inline(always)]
    fn mul_add<F: num_traits::Float>(a: F, b: F, c: F) -> F {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn product_error(a: f64, b: f64, product: f64) -> f64 {
        a.mul_add(b, -product)
    }
}

impl MulAdd for Separate {
    const IS_FUSED: bool = false;
    #[inline(always)]
    fn mul_add<F: num_traits::Float>(a: F, b: F, c: F) -> F {
        a * b + c
    }
    #[inline(always)]
    fn product_error(a: f64, b: f64, product: f64) -> f64 {
        // Halves have products without a rounding.
        let split = |x: f64| {
            let high = f64::from_bits(x.to_bits() & !0x07ff_ffff);
            (high, x - high)
        };
        let ((a1, a2), (b1, b2)) = (split(a), split(b));
        (((a1 * b1 - product) + a1 * b2) + a2 * b1) + a2 * b2
    }
}

/// A kernel with its arguments, to be compiled for each instruction set. `run` and all that it calls
/// must be `#[inline(always)]`: only what is inlined is compiled with the instructions.
pub(crate) trait Kernel {
    type Output;
    fn run<M: MulAdd>(self) -> Self::Output;
}

/// Runs a kernel with the chosen instructions.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        struct Call<K>(K);
        impl<K: Kernel> pulp::NullaryFnOnce for Call<K> {
            type Output = K::Output;
            #[inline(always)]
            fn call(self) -> K::Output {
                self.0.run::<Fused>()
            }
        }
        match chosen() {
            Instructions::Avx512 => {
                if let Some(v4) = pulp::x86::V4::try_new() {
                    return v4.vectorize(Call(kernel));
                }
            }
            Instructions::Avx2 => {
                if let Some(v3) = pulp::x86::V3::try_new() {
                    return v3.vectorize(Call(kernel));
                }
            }
            Instructions::Baseline => {}
        }
        kernel.run::<Separate>()
    }
    #[cfg(target_arch = "aarch64")]
    return kernel.run::<Fused>();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return kernel.run::<Separate>();
}

/// `[f(0), f(1), ..]`. The standard library's functions on arrays may remain calls, which are not compiled with the
/// instructions of their caller.
#[inline(always)]
pub(crate) fn array<A: Copy + Default, const N: usize>(f: impl Fn(usize) -> A) -> [A; N] {
    let mut array = [A::default(); N];
    for (i, element) in array.iter_mut().enumerate() {
        *element = f(i);
    }
    array
}

/// Defines a function that runs its body by [`dispatch`], and is compiled in this crate as by
/// [`compiled!`](crate::float::compiled). In the body, `M::mul_add` is the multiply-add of the instructions that
/// it is being compiled for.
macro_rules! dispatched {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$lifetime:lifetime, $T:ident, $M:ident>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? $body:block
    )*) => {$crate::float::compiled! {$(
        $(#[$attribute])*
        $visibility fn $name<$lifetime, $T>($($argument: $type),*) $(-> $output)? {
            struct Arguments<$lifetime, $T: crate::float::Float> {
                $($argument: $type,)*
                lifetime: std::marker::PhantomData<&$lifetime $T>,
            }
            impl<$lifetime, $T: crate::float::Float> crate::kernels::simd::Kernel for Arguments<$lifetime, $T> {
                type Output = dispatched!(@output $($output)?);
                #[inline(always)]
                fn run<$M: crate::kernels::simd::MulAdd>(self) -> Self::Output {
                    let Arguments { $($argument,)* lifetime: _ } = self;
                    $body
                }
            }
            crate::kernels::simd::dispatch(Arguments::<'_, $T> { $($argument,)* lifetime: std::marker::PhantomData })
        }
    )*}};
    (@output) => { () };
    (@output $output:ty) => { $output };
}
pub(crate) use dispatched;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_instructions_are_the_default_and_missing_ones_are_refused() {
        let available = Instructions::available();
        assert!(available.contains(&chosen()));
        for instructions in [Instructions::Baseline, Instructions::Avx2, Instructions::Avx512] {
            if !available.contains(&instructions) {
                assert!(choose(instructions).is_err());
            }
        }
    }
}
