#include "copy/engine.hpp"

#include "check.hpp"
#include "copy_fixture.hpp"
#include "device/fake_backend.hpp"

namespace residentkv {
namespace {

using testing::CopyFixture;
using testing::pairs;

// Jobs are over when the test says so.
class ManualBackend final : public Backend {
 public:
  void start(std::shared_ptr<CopyJob> job) override { started.push_back(std::move(job)); }
  void poll() override {
    for (auto const& job : started) {
      CopyError const reason = job->stop_reason.load();
      if (job->is_over() || reason == CopyError::kNone) continue;
      job->error = reason;
      job->state.store(reason == CopyError::kTimeout ? CopyState::kFailed : CopyState::kCancelled);
    }
  }
  bool wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point) override {
    poll();
    return job.is_over() || job.num_layers_done.load() >= num_layers;
  }
  [[nodiscard]] std::uint32_t max_started() const noexcept override { return 2; }
  std::vector<std::shared_ptr<CopyJob>> started;
};

struct Manual {
  explicit Manual(std::uint32_t max_tickets) {
    auto owned = std::make_unique<ManualBackend>();
    backend = owned.get();
    engine = std::make_unique<CopyEngine>(fixture.layout(), fixture.slots(), std::move(owned), max_tickets);
  }
  [[nodiscard]] TicketId offload(std::uint32_t number) const { return engine->offload(pairs({{number, number}})).value(); }
  [[nodiscard]] TicketId restore(std::uint32_t number) const {
    std::vector<std::uint64_t> const expected(fixture.shape.num_layers);
    return engine->restore(pairs({{number, number}}), expected).value();
  }
  CopyFixture fixture{{}};
  ManualBackend* backend;
  std::unique_ptr<CopyEngine> engine;
};

TEST(a_full_engine_says_so_and_drops_nothing) {
  Manual manual(3);
  for (std::uint32_t i = 0; i < 3; ++i) static_cast<void>(manual.offload(i));
  CHECK(!manual.engine->offload(pairs({{4, 4}})).has_value());
  CHECK_EQUAL(manual.engine->num_in_flight(), 3U);
  manual.backend->started[0]->state.store(CopyState::kDone);
  CHECK(!manual.engine->offload(pairs({{4, 4}})).has_value());  // over, but nobody was told: its slot is still in use
  CHECK_EQUAL(manual.engine->poll().size(), 1U);
  CHECK(manual.engine->offload(pairs({{4, 4}})).has_value());
}

TEST(a_restore_overtakes_offloads_that_wait) {
  Manual manual(8);
  for (std::uint32_t i = 0; i < 4; ++i) static_cast<void>(manual.offload(i));
  static_cast<void>(manual.restore(5));
  CHECK_EQUAL(manual.backend->started.size(), 2U);
  for (auto const& job : std::vector(manual.backend->started)) job->state.store(CopyState::kDone);
  static_cast<void>(manual.engine->poll());
  CHECK_EQUAL(manual.backend->started.size(), 4U);
  CHECK(manual.backend->started[2]->direction == Direction::kRestore);
  CHECK(manual.backend->started[3]->direction == Direction::kOffload);
}

TEST(a_ticket_is_not_over_before_the_backend_says_so) {
  Manual manual(4);
  TicketId const ticket = manual.restore(0);
  CHECK(manual.engine->poll().empty());
  manual.backend->started[0]->num_layers_done.store(2);
  CHECK(manual.engine->poll().empty());
  CHECK(manual.engine->wait_layers(ticket, 2, std::chrono::seconds(0)));
  CHECK(!manual.engine->wait_layers(ticket, 3, std::chrono::seconds(0)));
  CHECK(!manual.engine->wait(ticket, std::chrono::seconds(0)));
  manual.backend->started[0]->state.store(CopyState::kDone);
  CHECK(manual.engine->wait(ticket, std::chrono::seconds(0)));
  CHECK_EQUAL(manual.engine->poll().size(), 1U);
  CHECK_THROWS(ContractError, manual.engine->wait(ticket, std::chrono::seconds(0)));  // told already
}

TEST(what_has_not_begun_is_stopped_at_once) {
  Manual manual(4);
  for (std::uint32_t i = 0; i < 2; ++i) static_cast<void>(manual.offload(i));
  TicketId const waiting = manual.offload(2);
  TicketId const late = manual.offload(3);
  manual.engine->stop(waiting, CopyError::kCancelled);
  manual.engine->stop(late, CopyError::kTimeout);
  manual.engine->stop(late, CopyError::kCancelled);  // it has ended already
  std::vector<CopyResult> const results = manual.engine->poll();
  CHECK_EQUAL(results.size(), 2U);
  CHECK(results[0].ticket == waiting && results[0].state == CopyState::kCancelled);
  CHECK(results[1].ticket == late && results[1].state == CopyState::kFailed && results[1].error == CopyError::kTimeout);
  CHECK_EQUAL(manual.backend->started.size(), 2U);
  CHECK_THROWS(ContractError, manual.engine->stop(TicketId{99}, CopyError::kCancelled));
}

TEST(a_closed_engine_takes_nothing_and_still_tells_what_ended) {
  Manual manual(4);
  for (std::uint32_t i = 0; i < 3; ++i) static_cast<void>(manual.offload(i));
  manual.engine->close();
  manual.engine->close();
  CHECK_THROWS(ContractError, manual.engine->offload(pairs({{4, 4}})));
  CHECK_EQUAL(manual.engine->poll().size(), 3U);
  CHECK_EQUAL(manual.engine->num_in_flight(), 0U);
}

TEST(a_mistake_leaves_no_ticket) {
  Manual manual(4);
  CHECK_THROWS(ContractError, manual.engine->offload(pairs({{0, 99}})));
  CHECK_EQUAL(manual.engine->num_in_flight(), 0U);
  SlotArray none = manual.fixture.slots();
  none.num_slots = 0;
  CHECK_THROWS(ContractError, CopyEngine(manual.fixture.layout(), none, std::make_unique<ManualBackend>(), 4));
  CHECK_THROWS(ContractError, CopyEngine(manual.fixture.layout(), manual.fixture.slots(), std::make_unique<ManualBackend>(), 0));
}

}  // namespace
}  // namespace residentkv
