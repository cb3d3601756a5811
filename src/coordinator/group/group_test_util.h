// A group with a clock in the test's hand and a journal that remembers; answers are run at once.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "coordinator/group/group.h"

namespace odradek::coordinator {

// A consumer's subscription as clients send it (version 0, no user data).
inline Bytes subscription(const std::vector<std::string>& topics) {
  Bytes bytes;
  base::append_be<int16_t>(bytes, 0);
  base::append_be<int32_t>(bytes, static_cast<int32_t>(topics.size()));
  for (const std::string& topic : topics) {
    base::append_be<int16_t>(bytes, static_cast<int16_t>(topic.size()));
    bytes.insert(bytes.end(), topic.begin(), topic.end());
  }
  base::append_be<int32_t>(bytes, -1);
  return bytes;
}

inline Bytes text(std::string_view value) { return {value.begin(), value.end()}; }

struct FakeJournal : GroupJournal {
  struct Written {
    GroupState state;
    int32_t generation;
    std::map<std::string, Bytes> assignments;
  };
  std::vector<Written> written;
  ErrorCode refuse = ErrorCode::kNone;

  ErrorCode append(const Group& group) override {
    if (refuse != ErrorCode::kNone) return refuse;
    Written& entry = written.emplace_back(Written{group.state(), group.generation(), {}});
    for (const auto& member : group.members()) entry.assignments[member->id] = member->assignment;
    return ErrorCode::kNone;
  }
};

// What one call came to: nothing yet, or one answer.
template <class Result>
struct Pending {
  std::shared_ptr<std::vector<Result>> answers = std::make_shared<std::vector<Result>>();
  bool answered() const { return answers->size() == 1; }
  const Result* operator->() const {
    EXPECT_EQ(answers->size(), 1u) << "not answered, or more than once";
    static const Result kNothing{};
    return answers->empty() ? &kNothing : &answers->front();
  }
};
using PendingJoin = Pending<JoinResult>;
using PendingSync = Pending<SyncResult>;

struct JoinOptions {
  std::string member_id;
  std::optional<std::string> instance_id;
  std::string client_id = "client";
  int32_t session_timeout_ms = 10'000;
  int32_t rebalance_timeout_ms = 60'000;
  std::string protocol_type = "consumer";
  std::vector<MemberProtocol> protocols = {{"range", subscription({"topic"})}};
  bool require_known_member_id = false;
  bool supports_skip_assignment = false;
};

struct GroupFixture : ::testing::Test {
  GroupConfig config;
  FakeJournal journal;
  Now now{1'000'000, 1'700'000'000'000};
  int next_uuid = 0;
  std::unique_ptr<Group> group = std::make_unique<Group>("g", config, now);

  void run(Answers& answers) {
    for (Answer& answer : answers) answer(ErrorCode::kNone);
    answers.clear();
  }
  PendingJoin join(JoinOptions options = {}) {
    JoinRequest request;
    request.member_id = options.member_id;
    request.instance_id = options.instance_id;
    request.client_id = options.client_id;
    request.client_host = "/127.0.0.1";
    request.session_timeout_ms = options.session_timeout_ms;
    request.rebalance_timeout_ms = options.rebalance_timeout_ms;
    request.protocol_type = options.protocol_type;
    request.protocols = options.protocols;
    request.require_known_member_id = options.require_known_member_id;
    request.supports_skip_assignment = options.supports_skip_assignment;
    request.uuid = "uuid" + std::to_string(++next_uuid);
    PendingJoin pending;
    Answers out;
    group->join(std::move(request), [to = pending.answers](JoinResult result) { to->push_back(std::move(result)); }, now, journal, out);
    run(out);
    return pending;
  }
  PendingSync sync(const std::string& member_id, int32_t generation, std::vector<std::pair<std::string, Bytes>> assignments = {},
                   std::optional<std::string> instance_id = std::nullopt, std::optional<std::string> protocol_type = std::nullopt,
                   std::optional<std::string> protocol_name = std::nullopt) {
    SyncRequest request{member_id, generation, instance_id, protocol_type, protocol_name, std::move(assignments)};
    PendingSync pending;
    Answers out;
    group->sync(std::move(request), [to = pending.answers](SyncResult result) { to->push_back(std::move(result)); }, now, journal, out);
    run(out);
    return pending;
  }
  ErrorCode heartbeat(const std::string& member_id, int32_t generation, std::optional<std::string> instance_id = std::nullopt) {
    return group->heartbeat(member_id, generation, instance_id, now);
  }
  ErrorCode leave(const std::string& member_id, std::optional<std::string> instance_id = std::nullopt) {
    Answers out;
    ErrorCode error = group->leave(member_id, instance_id, now, journal, out);
    run(out);
    return error;
  }
  ErrorCode commit(const std::string& member_id, int32_t generation, std::optional<std::string> instance_id = std::nullopt, bool transactional = false) {
    return group->check_commit(member_id, generation, instance_id, transactional, now);
  }
  // Time passes; deadlines on the way are kept exactly.
  void pass(int64_t ms) {
    const int64_t until = now.monotonic_ms + ms;
    while (true) {
      auto deadline = group->deadline();
      if (!deadline || *deadline > until) break;
      int64_t step = std::max<int64_t>(*deadline - now.monotonic_ms, 0);
      now.monotonic_ms += step;
      now.wall_ms += step;
      Answers out;
      group->on_time(now, journal, out);
      run(out);
    }
    now.wall_ms += until - now.monotonic_ms;
    now.monotonic_ms = until;
  }

  // --- ways to known states -------------------------------------------------------------------------------------------------
  struct Joined {
    std::string leader;
    std::vector<std::string> members;  // the leader first
    int32_t generation = 0;
  };
  // `count` members joined together from Empty; the group is in CompletingRebalance.
  Joined completing(int count, JoinOptions options = {}) {
    std::vector<PendingJoin> joins;
    for (int i = 0; i < count; ++i) {
      if (options.instance_id) options.instance_id = "instance" + std::to_string(i);
      joins.push_back(join(options));
    }
    pass(config.initial_rebalance_delay_ms);
    if (count > 1 && !joins[0].answered()) pass(config.initial_rebalance_delay_ms);
    Joined joined;
    joined.leader = joins[0]->leader;
    for (auto& each : joins) {
      EXPECT_EQ(each->error, ErrorCode::kNone);
      joined.members.push_back(each->member_id);
    }
    joined.generation = joins[0]->generation;
    EXPECT_EQ(group->state(), GroupState::kCompletingRebalance);
    return joined;
  }
  Joined stable(int count, JoinOptions options = {}) {
    Joined joined = completing(count, options);
    std::vector<std::pair<std::string, Bytes>> assignments;
    for (const auto& id : joined.members) assignments.emplace_back(id, text("a:" + id));
    sync(joined.leader, joined.generation, assignments);
    for (const auto& id : joined.members) {
      if (id == joined.leader) continue;
      EXPECT_EQ(sync(id, joined.generation)->error, ErrorCode::kNone);
    }
    EXPECT_EQ(group->state(), GroupState::kStable);
    return joined;
  }
};

}  // namespace odradek::coordinator
