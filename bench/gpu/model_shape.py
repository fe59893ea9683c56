"""The model whose KV is moved and recomputed: sizes only. No device needed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder with grouped-query attention and a gated MLP, bfloat16 throughout."""

    name: str
    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    block_tokens: int = 16

    @property
    def run_bytes(self) -> int:
        """Keys and values of one block in one layer, together in one plane."""
        return 2 * self.block_tokens * self.num_kv_heads * self.head_dim * 2

    @property
    def block_bytes(self) -> int:
        return self.num_layers * self.run_bytes

    def num_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_tokens)

    @property
    def weights(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of the matrices that every token goes through in one layer."""
        kv = 2 * self.num_kv_heads * self.head_dim
        query = self.num_heads * self.head_dim
        return (
            (self.hidden, query + kv),
            (query, self.hidden),
            (self.hidden, 2 * self.intermediate),
            (self.intermediate, self.hidden),
        )


# The published configuration of Llama 3.1 8B.
LLAMA_8B = ModelShape("Llama 3.1 8B", 32, 4096, 32, 8, 128, 14336)
