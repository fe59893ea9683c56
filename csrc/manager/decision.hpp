#pragma once
// The numbers of one admission, as contract.md section 5 names them.
#include <cstdint>

#include "core/ids.hpp"

namespace residentkv {

enum class Outcome : std::uint8_t {
  kAdmitted,
  kDeferred,          // fits later: new_blocks > available_blocks
  kRefused,           // does not fit while the claims stand: |P u A(r)| > usable
  kCapacityRequired,  // never fits: |A(r)| > usable
  kDeadlineDue,       // nothing decided: a claim's deadline has to be dealt with first
};

// Counts are blocks unless named otherwise. `available_blocks` is signed: promised room that the request would itself use up counts against
// it.
struct Decision {
  Outcome outcome = Outcome::kAdmitted;
  RowId row = kNoRow;
  std::uint32_t num_cached_tokens = 0;
  std::uint32_t peak_blocks = 0;                  // |A(r)|
  std::uint32_t new_blocks = 0;                   // to take now
  std::int64_t available_blocks = 0;              // available(r)
  std::uint32_t protected_blocks = 0;             // |P|
  std::uint32_t protected_union_peak_blocks = 0;  // |P u A(r)|
  std::uint32_t resident_plus_active_blocks = 0;  // |P u held u A(r)|
  std::uint32_t num_filled_blocks = 0;            // reserved nodes r fills
};

}  // namespace residentkv
