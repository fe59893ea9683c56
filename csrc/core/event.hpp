#pragma once
// One recorded event, as it leaves the native core: plain numbers, names are joined in Python. Every event of a run, native or recorded on
// behalf of Python, is numbered by one EventLog, so their order is total.
#include <array>
#include <cstdint>
#include <string_view>

#include "core/ids.hpp"

namespace residentkv {

enum class EventKind : std::uint16_t {
  kClaimSubmitted,
  kClaimAccepted,
  kClaimRejected,
  kBlockMaterialized,
  kClaimMaterialized,
  kClaimPreserved,
  kClaimHarmed,
  kClaimDemoted,
  kClaimExpired,
  kClaimReleased,
  kBlockLostAfterRelease,
  kClaimOffloaded,
  kClaimRestoreRequired,
  kClaimRestored,
  kClaimReuseAfterRestore,
  kClaimRestorationFailed,
  kRequestAdmitted,
  kRequestDeferred,
  kRequestRefused,
  kFutureReuseAdmitted,
  kFutureReuseDenied,
  kVictimSelected,
};

inline constexpr std::array<std::string_view, 22> kEventNames{
    "resident_claim_submitted",
    "resident_claim_accepted",
    "resident_claim_rejected",
    "resident_block_materialized",
    "resident_claim_materialized",
    "resident_claim_preserved",
    "resident_claim_harmed",
    "resident_claim_demoted",
    "resident_claim_expired",
    "resident_claim_released",
    "resident_claim_block_lost_after_release",
    "resident_claim_offloaded",
    "resident_claim_restore_required",
    "resident_claim_restored",
    "resident_claim_reuse_after_restore",
    "resident_claim_restoration_failed",
    "active_request_admitted",
    "active_request_deferred",
    "active_request_refused",
    "future_reuse_admitted",
    "future_reuse_denied",
    "allocation_victim_selected",
};

// Why a block was chosen as a victim: the weakest kind of content goes first. What follows an offloaded block can not be reached any more.
enum class VictimReason : std::uint16_t { kUnclaimedLru, kBestEffortLru, kSoftPriorityLru, kFollowsOffloaded };
inline constexpr std::array<std::string_view, 4> kVictimReasonNames{"unclaimed_lru", "best_effort_lru", "soft_priority_lru",
                                                                    "follows_offloaded"};

// 56 bytes; the layout is read by Python as a structured array (bindings/bind_events.cpp names every field).
struct EventRecord {
  std::uint64_t sequence = 0;
  std::int64_t timestamp_ns = 0;
  RequestKey request = kNoRequest;
  ClaimId claim = kNoClaim;
  std::int32_t block = -1;         // physical block id
  std::int32_t position = -1;      // logical block position in its chain | how many blocks an admission evicted
  std::int32_t required = -1;      // blocks: the claim's footprint | the request's peak
  std::int32_t materialized = -1;  // blocks: computed footprint blocks | the request's reused blocks
  std::int32_t leading = -1;       // blocks: leading computed footprint blocks | the request's newly taken blocks
  EventKind kind = EventKind::kClaimSubmitted;
  std::uint16_t cause = 0;  // VictimReason, or the caller's cause of an invalidation
  std::uint8_t predicate_before = 0;
  std::uint8_t predicate_after = 0;
  std::uint8_t is_protected = 0;
  std::uint8_t padding = 0;
};
static_assert(sizeof(EventRecord) == 56);

// Per-block events may be switched off; claim and request events may not.
[[nodiscard]] constexpr bool is_block_event(EventKind kind) noexcept {
  return kind == EventKind::kBlockMaterialized || kind == EventKind::kBlockLostAfterRelease || kind == EventKind::kVictimSelected;
}

}  // namespace residentkv
