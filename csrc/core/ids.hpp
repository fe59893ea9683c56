#pragma once
// Names of the things this library counts. Each is its own type, so a node can not be passed where a block is meant, and none of them can
// be added to another. index_of() is the one way to a number.
#include <cstdint>
#include <type_traits>

namespace residentkv {

enum class BlockId : std::uint32_t {};     // one row of KV storage
enum class NodeId : std::uint32_t {};      // one logical block: (cache identity, tokens up to it)
enum class ClaimId : std::uint32_t {};     // one accepted life of a claim; never reused
enum class RootId : std::uint32_t {};      // the caller's number of one cache identity
enum class RowId : std::uint32_t {};       // one request's row of the block tables
enum class StepId : std::uint64_t {};      // planned steps; ids grow
enum class RequestKey : std::uint64_t {};  // the caller's number of one request, echoed in events
enum class SlotId : std::uint32_t {};      // one block's place in a tier
enum class TicketId : std::uint64_t {};    // one submitted copy; never reused
enum class ExtraId : std::uint32_t {};     // an interned extra key; 0 is "no extra key"

inline constexpr BlockId kNoBlock{UINT32_MAX};
inline constexpr NodeId kNoNode{UINT32_MAX};
inline constexpr ClaimId kNoClaim{UINT32_MAX};
inline constexpr RowId kNoRow{UINT32_MAX};
inline constexpr SlotId kNoSlot{UINT32_MAX};
inline constexpr RequestKey kNoRequest{UINT64_MAX};
inline constexpr ExtraId kNoExtra{0};

template <typename Id>
[[nodiscard]] constexpr auto index_of(Id id) noexcept {
  return static_cast<std::underlying_type_t<Id>>(id);
}

}  // namespace residentkv
