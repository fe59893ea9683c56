#include "prefix/prefix_index.hpp"

#include <array>
#include <numeric>
#include <random>

#include "check.hpp"

namespace residentkv {
namespace {

constexpr std::uint32_t kBlockSize = 4;
using Block = std::array<std::int32_t, kBlockSize>;

PrefixIndex::Options options(std::uint32_t expected_nodes) {
  return {.block_size = kBlockSize, .expected_nodes = expected_nodes, .hash_seed = 11};
}

ChainBlock chain_block(PrefixIndex const& index, std::uint64_t parent_hash, Block const& tokens, ExtraId extra = kNoExtra) {
  return {.tokens = tokens.data(), .extra = extra, .hash = index.hash().next(parent_hash, tokens.data(), extra)};
}

TEST(a_node_is_found_from_its_parent_tokens_and_extra_key_only) {
  PrefixIndex index(options(8));
  ExtraId const image = index.extra_keys().intern("image");
  Block const tokens{1, 2, 3, 4};
  std::uint64_t const root_hash = index.hash().root(RootId{0});
  NodeId const plain = index.insert(PrefixIndex::root(RootId{0}), chain_block(index, root_hash, tokens));
  CHECK(index.find(PrefixIndex::root(RootId{0}), chain_block(index, root_hash, tokens)) == plain);
  CHECK(index.find(PrefixIndex::root(RootId{1}), chain_block(index, root_hash, tokens)) == kNoNode);
  CHECK(index.find(PrefixIndex::root(RootId{0}), chain_block(index, root_hash, tokens, image)) == kNoNode);
  CHECK(index.find(PrefixIndex::root(RootId{0}), chain_block(index, root_hash, {1, 2, 3, 5})) == kNoNode);
}

TEST(equal_hashes_do_not_make_equal_content) {
  PrefixIndex index(options(8));
  Block const one{1, 1, 1, 1};
  Block const other{2, 2, 2, 2};
  ChainBlock const first{.tokens = one.data(), .extra = kNoExtra, .hash = 42};  // a collision of all 64 bits
  ChainBlock const second{.tokens = other.data(), .extra = kNoExtra, .hash = 42};
  NodeId const root = PrefixIndex::root(RootId{0});
  NodeId const a = index.insert(root, first);
  CHECK(index.find(root, second) == kNoNode);
  NodeId const b = index.insert(root, second);
  CHECK(a != b && index.find(root, first) == a && index.find(root, second) == b);
  index.erase(a);
  CHECK(index.find(root, first) == kNoNode && index.find(root, second) == b);
  index.check();
}

TEST(a_parent_is_not_forgotten_before_its_children) {
  PrefixIndex index(options(8));
  Block const tokens{1, 2, 3, 4};
  ChainBlock const content = chain_block(index, 0, tokens);
  NodeId const parent = index.insert(PrefixIndex::root(RootId{0}), content);
  NodeId const child = index.insert(parent, content);
  CHECK_EQUAL(index.position(child), 1U);
  CHECK_THROWS(InvariantError, (index.erase(parent), 0));
  index.erase(child);
  index.erase(parent);
  CHECK_EQUAL(index.num_nodes(), 0U);
}

TEST(walk_finds_the_longest_chain_and_the_table_grows) {
  PrefixIndex index(options(2));
  std::vector<std::int32_t> tokens(200 * kBlockSize + 3);
  std::iota(tokens.begin(), tokens.end(), 0);
  NodeId parent = PrefixIndex::root(RootId{5});
  std::uint64_t hash = index.hash().root(RootId{5});
  for (std::size_t i = 0; i < 150; ++i) {
    hash = index.hash().next(hash, &tokens[i * kBlockSize], kNoExtra);
    parent = index.insert(parent, {.tokens = &tokens[i * kBlockSize], .extra = kNoExtra, .hash = hash});
  }
  std::vector<NodeId> nodes;
  std::vector<std::uint64_t> hashes;
  index.walk(RootId{5}, tokens, {}, nodes, hashes);
  CHECK_EQUAL(nodes.size(), 150U);
  CHECK(nodes.back() == parent && hashes.back() == hash);
  index.check();
}

TEST(extra_keys_leave_nothing_behind) {
  PrefixIndex index(options(4));
  ExtraId const extra = index.extra_keys().intern("one-off");
  Block const tokens{1, 2, 3, 4};
  NodeId const node = index.insert(PrefixIndex::root(RootId{0}), chain_block(index, 0, tokens, extra));
  index.extra_keys().release(extra);
  CHECK_EQUAL(index.extra_keys().size(), 1U);
  index.erase(node);
  CHECK_EQUAL(index.extra_keys().size(), 0U);
}

TEST(random_inserts_and_erases_agree_with_a_list) {
  PrefixIndex index(options(4));
  std::mt19937 random(7);
  struct Known {
    NodeId node;
    NodeId parent;
    Block tokens;
    std::uint64_t hash;
  };
  std::vector<Known> known;
  for (int step = 0; step < 4000; ++step) {
    if (known.empty() || random() % 3 != 0) {
      bool const at_root = known.empty() || random() % 4 == 0;
      Known const* const above = at_root ? nullptr : &known[random() % known.size()];
      NodeId const parent = at_root ? PrefixIndex::root(RootId{0}) : above->node;
      Block tokens{};
      for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random() % 3);
      std::uint64_t const hash = random() % 4;  // few hashes: long chains in the table
      ChainBlock const content{.tokens = tokens.data(), .extra = kNoExtra, .hash = hash};
      if (index.find(parent, content) != kNoNode) continue;
      known.push_back({.node = index.insert(parent, content), .parent = parent, .tokens = tokens, .hash = hash});
    } else {
      std::size_t const i = random() % known.size();
      if (index.num_children(known[i].node) > 0) continue;
      index.erase(known[i].node);
      known.erase(known.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  for (Known const& one : known) {
    CHECK(index.find(one.parent, {.tokens = one.tokens.data(), .extra = kNoExtra, .hash = one.hash}) == one.node);
  }
  CHECK_EQUAL(index.num_nodes(), static_cast<std::uint32_t>(known.size()));
  index.check();
}

}  // namespace
}  // namespace residentkv
