#include "metadata/registration.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "metadata/tree/paths.h"
#include "model/error_code.h"

namespace odradek::metadata {

namespace {

constexpr const char* kBasePaths[] = {
    "/consumers", "/brokers/ids", "/brokers/topics", "/config/changes", "/admin/delete_topics", "/brokers/seqid",
    "/isr_change_notification", "/latest_producer_id_block", "/log_dir_event_notification", "/config/topics", "/config/clients",
    "/config/users", "/config/brokers", "/config/ips"};

Async<void> run_create_base_paths(TreeClient tree, UniqueFunction<void(Result<void>)> done) {
  for (const char* path : kBasePaths) {
    std::string wanted = path;
    auto made = co_await tree.ensure(std::move(wanted));
    if (!made) co_return done(fail(to_error(made.error(), fmt::format("create {}", path))));
  }
  done({});
}

Async<void> run_cluster_id(TreeClient tree, std::string wanted, UniqueFunction<void(Result<std::string>)> done) {
  if (wanted.empty()) wanted = base::random_uuid(tree.runtime().random()).to_string();
  for (;;) {
    auto node = co_await tree.get(paths::kClusterId);
    if (node) co_return done(decode_cluster_id(node->data));
    if (node.error() != StoreError::kNoNode) co_return done(fail(to_error(node.error(), "read /cluster/id")));
    Bytes data = encode_cluster_id(wanted);
    auto made = co_await tree.ensure(paths::kClusterId, std::move(data));
    if (!made) co_return done(fail(to_error(made.error(), "create /cluster/id")));
    // Read it back: another broker may have been faster.
  }
}

Async<void> run_broker_id(TreeClient tree, int32_t reserved_max, UniqueFunction<void(Result<BrokerId>)> done) {
  auto stat = co_await tree.set(paths::kBrokerSeqId, Bytes(), kAnyVersion);
  if (!stat) co_return done(fail(to_error(stat.error(), "set /brokers/seqid")));
  done(BrokerId{reserved_max + stat->version});
}

Async<void> run_register(TreeClient tree, BrokerInfo info, int64_t former_session, UniqueFunction<void(Result<int64_t>)> done) {
  const std::string path = paths::broker(info.id);
  for (;;) {
    // As a 3.9 broker: the second part gives the Stat, and with it the epoch.
    std::vector<StoreOp> ops;
    ops.push_back(StoreOp::create(path, {}, CreateMode::kEphemeral));
    ops.push_back(StoreOp::set(path, encode_broker(info, tree.runtime().clock().wall_ms()), 0));
    auto made = co_await tree.multi(std::move(ops));
    if (made) co_return done((*made)[1].stat.czxid);
    if (made.error().error != StoreError::kNodeExists) co_return done(fail(to_error(made.error().error, "register " + path)));

    auto node = co_await tree.get(path);
    if (!node && node.error() == StoreError::kNoNode) continue;
    if (!node) co_return done(fail(to_error(node.error(), "read " + path)));
    if (node->stat.ephemeral_owner == tree.store().session_id()) co_return done(node->stat.czxid);
    if (former_session == 0 || node->stat.ephemeral_owner != former_session) {
      co_return done(fail(ErrorCode::kDuplicateBrokerRegistration,
                          fmt::format("{} is held by another session: another broker has id {}, or this one ended without closing its session; "
                                      "give it another broker.id or wait for zookeeper.session.timeout.ms",
                                      path, info.id.value)));
    }
    auto removed = co_await tree.remove(path, node->stat.version);
    if (!removed && removed.error() != StoreError::kNoNode && removed.error() != StoreError::kBadVersion) {
      co_return done(fail(to_error(removed.error(), "remove " + path)));
    }
  }
}

Async<void> run_log_dir_event(TreeClient tree, BrokerId broker) {
  Bytes data = encode_log_dir_event(broker);
  auto told = co_await tree.create(paths::kLogDirEventPrefix, data, CreateMode::kPersistentSequential);
  if (!told) log::warn("metadata", "the controller was not told that log dirs have changed: {}", name_of(told.error()));
}

}  // namespace

void create_base_paths(TreeClient tree, UniqueFunction<void(Result<void>)> done) { spawn(run_create_base_paths(tree, std::move(done))); }
void create_or_read_cluster_id(TreeClient tree, std::string wanted, UniqueFunction<void(Result<std::string>)> done) {
  spawn(run_cluster_id(tree, std::move(wanted), std::move(done)));
}
void generate_broker_id(TreeClient tree, int32_t reserved_max, UniqueFunction<void(Result<BrokerId>)> done) {
  spawn(run_broker_id(tree, reserved_max, std::move(done)));
}
void register_broker(TreeClient tree, BrokerInfo info, int64_t former_session, UniqueFunction<void(Result<int64_t>)> done) {
  spawn(run_register(tree, std::move(info), former_session, std::move(done)));
}
void report_log_dir_event(TreeClient tree, BrokerId broker) { spawn(run_log_dir_event(tree, broker)); }

}  // namespace odradek::metadata
