#include "device/checksum.hpp"

#include <cstring>
#include <random>
#include <vector>

#include "check.hpp"

namespace residentkv {
namespace {

std::vector<std::byte> random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

std::uint64_t sum_of(std::byte const* data, std::size_t count) {
  Checksum checksum;
  checksum.add(data, count);
  return checksum.value();
}

// The definition in checksum.hpp, word by word and in software.
std::uint64_t by_definition(std::byte const* data, std::size_t count) {
  std::array<std::uint32_t, 4> lanes{0, 1, 2, 3};
  lanes[0] = crc32c_word_in_software(lanes[0], count);
  for (std::size_t word = 0; word * 8 < count; ++word) {
    std::uint64_t value = 0;
    std::memcpy(&value, data + word * 8, std::min<std::size_t>(8, count - word * 8));
    lanes[word % 4] = crc32c_word_in_software(lanes[word % 4], value);
  }
  auto const pair = [&](std::size_t low, std::size_t high) { return lanes[low] | std::uint64_t{lanes[high]} << 32; };
  std::uint64_t const first = crc32c_word_in_software(crc32c_word_in_software(0, pair(0, 1)), pair(2, 3));
  std::uint64_t const second = crc32c_word_in_software(crc32c_word_in_software(UINT32_MAX, pair(2, 0)), pair(3, 1));
  return first | second << 32;
}

TEST(crc32c_has_the_published_value) {  // RFC 3720 appendix B.4: 32 bytes of zeros give 0x8A9136AA
  std::uint32_t crc = ~0U;
  for (int word = 0; word < 4; ++word) crc = crc32c_word_in_software(crc, 0);
  CHECK_EQUAL(~crc, 0x8A9136AAU);
}

TEST(this_machine_agrees_with_the_definition_at_every_length_and_alignment) {
  std::vector<std::byte> const bytes = random_bytes(5'000, 1);
  for (std::size_t const offset : {0U, 1U, 7U, 32U}) {
    for (std::size_t count = 0; count < 300; ++count) {
      CHECK_EQUAL(sum_of(bytes.data() + offset, count), by_definition(bytes.data() + offset, count));
    }
    CHECK_EQUAL(sum_of(bytes.data() + offset, 4'931), by_definition(bytes.data() + offset, 4'931));
  }
}

TEST(a_copy_has_the_checksum_of_its_source_and_writes_nothing_else) {
  std::vector<std::byte> const source = random_bytes(20'000, 2);
  for (std::size_t const count : {0U, 1U, 63U, 64U, 65U, 4'095U, 4'096U, 4'097U, 12'345U}) {
    for (std::size_t const target_offset : {32U, 33U, 40U, 64U}) {
      std::vector<std::byte> target(count + 200, std::byte{0xA5});
      Checksum checksum;
      checksum.add_copied(target.data() + target_offset, source.data() + 5, count);
      CHECK_EQUAL(checksum.value(), by_definition(source.data() + 5, count));
      std::vector<std::byte> expected(count + 200, std::byte{0xA5});
      std::copy_n(source.data() + 5, count, expected.data() + target_offset);
      CHECK(target == expected);
      std::vector<std::byte> past(count + 200, std::byte{0xA5});
      copy_past_caches(past.data() + target_offset, source.data() + 5, count);
      CHECK(past == expected);
    }
  }
}

TEST(every_flipped_bit_is_noticed) {
  std::vector<std::byte> bytes = random_bytes(160, 3);
  std::uint64_t const sound = sum_of(bytes.data(), bytes.size());
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    CHECK(sum_of(bytes.data(), bytes.size()) != sound);
    bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
  }
}

TEST(keys_and_values_exchanged_are_noticed_and_so_are_zeros_cut_off) {
  std::vector<std::byte> const keys = random_bytes(96, 4);
  std::vector<std::byte> const values = random_bytes(96, 5);
  Checksum right;
  right.add(keys.data(), 96);
  right.add(values.data(), 96);
  Checksum wrong;
  wrong.add(values.data(), 96);
  wrong.add(keys.data(), 96);
  CHECK(right.value() != wrong.value());
  std::vector<std::byte> const zeros(128);
  CHECK(sum_of(zeros.data(), 128) != sum_of(zeros.data(), 120));
}

}  // namespace
}  // namespace residentkv
