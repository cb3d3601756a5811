// Random events on one group, many seeds; what must hold after each of them.
#include <random>
#include <set>

#include "coordinator/group/group.h"
#include "coordinator/group/group_test_util.h"

namespace odradek::coordinator {
namespace {

struct Client {
  std::string member_id;
  std::optional<std::string> instance_id;
  int32_t generation = -1;
  bool leads = false;
  bool owns = false;          // holds an assignment of `generation`
  bool must_rejoin = true;
  bool gone = false;          // neither sends nor reads any more
  std::vector<std::string> members;  // as leader: whom to assign to
  std::optional<PendingJoin> join;
  std::optional<PendingSync> sync;
};

struct Simulation : GroupFixture {
  void TestBody() override {}

  std::mt19937_64 random;
  std::vector<Client> clients;
  int32_t last_generation = 0;
  std::vector<std::shared_ptr<std::vector<JoinResult>>> all_joins;
  std::vector<std::shared_ptr<std::vector<SyncResult>>> all_syncs;
  int stable_seen = 0;

  explicit Simulation(uint64_t seed) : random(seed) {
    config.initial_rebalance_delay_ms = static_cast<int32_t>(below(3)) * 1'500;
    if (below(4) == 0) config.max_size = static_cast<int32_t>(2 + below(4));
  }
  uint64_t below(uint64_t bound) { return random() % bound; }

  JoinOptions options_of(const Client& client) {
    JoinOptions options{.member_id = client.member_id, .instance_id = client.instance_id, .session_timeout_ms = 10'000, .rebalance_timeout_ms = 15'000};
    options.protocols = {{"range", subscription({"t"})}, {"sticky", subscription({"t"})}};
    if (below(3) == 0) std::swap(options.protocols[0], options.protocols[1]);
    options.require_known_member_id = !client.instance_id && below(2) == 0;
    options.supports_skip_assignment = below(2) == 0;
    return options;
  }

  void step() {
    journal.refuse = below(20) == 0 ? ErrorCode::kCoordinatorNotAvailable : ErrorCode::kNone;
    switch (below(12)) {
      case 0:
        if (clients.size() < 8) {
          Client& client = clients.emplace_back();
          if (below(3) == 0) client.instance_id = "instance" + std::to_string(below(4));
        }
        break;
      case 1:  // dies without a word
        if (!clients.empty() && below(3) == 0) clients[below(clients.size())].gone = true;
        break;
      case 2:
        if (Client* client = any(); client && !client->member_id.empty() && below(3) == 0) {
          leave(client->member_id, client->instance_id);
          if (!client->join && !client->sync) *client = Client{.instance_id = client->instance_id};
        }
        break;
      case 3:
        if (below(10) == 0) {
          pass(static_cast<int64_t>(below(20'000)));
        } else {
          pass(static_cast<int64_t>(below(1'500)));
        }
        break;
      default:
        if (Client* client = any()) act(*client);
        break;
    }
    collect();
    check();
  }

  Client* any() {
    if (clients.empty()) return nullptr;
    Client& client = clients[below(clients.size())];
    return client.gone ? nullptr : &client;
  }

  // What a consumer does next.
  void act(Client& client) {
    if (client.join || client.sync) return;
    if (client.must_rejoin) {
      client.join = join(options_of(client));
      all_joins.push_back(client.join->answers);
    } else if (!client.owns) {
      std::vector<std::pair<std::string, Bytes>> assignments;
      if (client.leads) {
        for (const auto& id : client.members) assignments.emplace_back(id, text("p-" + id));
      }
      client.sync = sync(client.member_id, client.generation, assignments, client.instance_id);
      all_syncs.push_back(client.sync->answers);
    } else if (below(10) == 0) {
      client.must_rejoin = true;
    } else if (below(3) == 0) {
      commit(client.member_id, client.generation, client.instance_id);
    } else {
      ErrorCode error = heartbeat(client.member_id, client.generation, client.instance_id);
      if (error != ErrorCode::kNone) failed(client, error);
    }
  }

  void failed(Client& client, ErrorCode error) {
    client.must_rejoin = true;
    client.owns = false;
    if (error == ErrorCode::kUnknownMemberId || error == ErrorCode::kGroupMaxSizeReached) client.member_id.clear();
    if (error == ErrorCode::kFencedInstanceId) client.gone = true;
  }

  void collect() {
    for (Client& client : clients) {
      if (client.join && client.join->answered()) {
        JoinResult result = client.join->answers->front();
        client.join.reset();
        if (result.error == ErrorCode::kMemberIdRequired) {
          client.member_id = result.member_id;
        } else if (result.error != ErrorCode::kNone) {
          failed(client, result.error);
        } else {
          ASSERT_GE(result.generation, 1);
          client.must_rejoin = client.owns = false;
          client.member_id = result.member_id;
          client.generation = result.generation;
          client.leads = result.leader == result.member_id && !result.skip_assignment;
          client.members.clear();
          for (auto& member : result.members) client.members.push_back(member.member_id);
        }
      }
      if (client.sync && client.sync->answered()) {
        SyncResult result = client.sync->answers->front();
        client.sync.reset();
        if (result.error != ErrorCode::kNone) {
          failed(client, result.error);
        } else {
          client.owns = true;
        }
      }
    }
    std::erase_if(clients, [](const Client& client) { return client.gone && !client.join && !client.sync; });
  }

  void check() {
    ASSERT_GE(group->generation(), last_generation) << "generations only rise";
    last_generation = group->generation();
    std::set<std::string> ids, instances;
    size_t dynamic = 0;
    for (const auto& member : group->members()) {
      ASSERT_TRUE(ids.insert(member->id).second);
      if (!member->instance_id) {
        ++dynamic;
      } else {
        ASSERT_TRUE(instances.insert(*member->instance_id).second) << "one member for each instance";
      }
      ASSERT_TRUE(!member->join || group->state() == GroupState::kPreparingRebalance);
      ASSERT_TRUE(!member->sync || group->state() == GroupState::kCompletingRebalance);
    }
    // (Static members that are away keep their places, so with them it may be more.)
    ASSERT_TRUE(group->state() != GroupState::kStable || dynamic <= static_cast<size_t>(config.max_size));
    switch (group->state()) {
      case GroupState::kEmpty:
        ASSERT_TRUE(group->members().empty());
        break;
      case GroupState::kPreparingRebalance:
        ASSERT_TRUE(group->deadline()) << "a rebalance ends by itself";
        break;
      case GroupState::kCompletingRebalance:
      case GroupState::kStable:
        ASSERT_FALSE(group->members().empty());
        ASSERT_TRUE(group->leader() && group->find(*group->leader())) << "the leader is a member";
        ASSERT_TRUE(group->deadline());
        break;
      case GroupState::kDead:
        FAIL();
    }
    // In a stable group everyone who has synced holds what the leader gave to it.
    if (group->state() == GroupState::kStable) {
      ++stable_seen;
      std::map<std::string, int> owners;
      for (const Client& client : clients) {
        if (client.owns && client.generation == group->generation() && group->find(client.member_id)) ++owners[client.member_id];
      }
      for (auto& [id, count] : owners) ASSERT_EQ(count, 1) << "two clients own what was given to " << id;
    }
    ASSERT_TRUE(group->held_bytes() >= 1'000 * (group->members().size() + group->pending_members()) && group->held_bytes() < 100'000);
    for (auto& answers : all_joins) ASSERT_LE(answers->size(), 1u);
    for (auto& answers : all_syncs) ASSERT_LE(answers->size(), 1u);
  }

  // Everybody stops: within the longest timeouts every answer is out and the group is empty.
  void finish() {
    journal.refuse = ErrorCode::kNone;
    for (int i = 0; i < 20; ++i) pass(20'000);
    pass(config.new_member_join_timeout_ms);
    for (int i = 0; i < 20; ++i) pass(20'000);
    EXPECT_EQ(group->state(), GroupState::kEmpty);
    EXPECT_EQ(group->pending_members(), 0u);
    EXPECT_FALSE(group->deadline());
    EXPECT_EQ(group->held_bytes(), 0u);
    for (auto& answers : all_joins) EXPECT_EQ(answers->size(), 1u) << "every join is answered";
    for (auto& answers : all_syncs) EXPECT_EQ(answers->size(), 1u) << "every sync is answered";
  }
};

TEST(GroupRandom, RulesHoldUnderRandomEvents) {
  int stable_seen = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(seed);
    for (int i = 0; i < 1'000; ++i) {
      simulation.step();
      if (::testing::Test::HasFatalFailure()) return;
    }
    simulation.finish();
    if (::testing::Test::HasFailure()) return;
    stable_seen += simulation.stable_seen;
  }
  EXPECT_GT(stable_seen, 10'000) << "the events reach the states that matter";
}

}  // namespace
}  // namespace odradek::coordinator
