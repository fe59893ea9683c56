"""8-bit floats in integer arithmetic: the same bits on every architecture and in the interpreter.

Triton converts e4m3 natively from sm_89 on only, and its interpreter rounds differently from the hardware; this rounds
to nearest even once and saturates, as `KVStorage` does with torch. A format is named by its mantissa bits: 3 is e4m3
(`float8_e4m3fn`: bias 7, no infinities), 2 is e5m2 (bias 15). Source: OCP 8-bit Floating Point Specification, 1.0.
"""

import triton
import triton.language as tl


@triton.jit
def encode_fp8(x, MANTISSA: tl.constexpr):
    """float32 to the stored uint8: nearest even, the largest finite value for overflow and infinities, NaN stays
    NaN."""
    SHIFT: tl.constexpr = 23 - MANTISSA
    BIAS: tl.constexpr = 7 if MANTISSA == 3 else 15
    LARGEST: tl.constexpr = 0x7E if MANTISSA == 3 else 0x7B
    # A float32 of this exponent has the subnormals' spacing 2 ** (1 - BIAS - MANTISSA) as its last bit.
    MAGIC: tl.constexpr = (24 - BIAS - MANTISSA + 127) << 23
    bits = x.to(tl.int32, bitcast=True)
    sign = (bits >> 24) & 0x80
    magnitude = bits & 0x7FFFFFFF
    odd = (magnitude >> SHIFT) & 1
    normal = ((magnitude + ((1 << (SHIFT - 1)) - 1) + odd) >> SHIFT) - ((127 - BIAS) << MANTISSA)
    magic = tl.full(x.shape, MAGIC, tl.int32).to(tl.float32, bitcast=True)
    subnormal = (magnitude.to(tl.float32, bitcast=True) + magic).to(tl.int32, bitcast=True) - MAGIC
    code = tl.where(magnitude < ((128 - BIAS) << 23), subnormal, tl.minimum(normal, LARGEST))
    code = tl.where(magnitude > 0x7F800000, 0x7F, code)
    return (sign | code).to(tl.uint8)


@triton.jit
def decode_fp8(stored, MANTISSA: tl.constexpr):
    """Stored uint8 to float32, exactly. Both formats are float16 with other bits missing, and float16 has
    subnormals."""
    code = stored.to(tl.int32)
    if MANTISSA == 2:
        return (code << 8).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
    half = (((code & 0x80) << 8) | ((code & 0x7F) << 7)).to(tl.int16).to(tl.float16, bitcast=True)
    # e4m3 has bias 7, float16 15: eight binary places.
    return tl.where((code & 0x7F) == 0x7F, float("nan"), half.to(tl.float32) * 256.0)
