#include "mirror/lease.h"

#include "base/log.h"
#include "client/group_member.h"
#include "mirror/connect.h"
#include "protocol/messages/leave_group.h"

namespace odradek::mirror {

void Lease::start() {
  executor_ = shared_.runtime.make_executor("mirror-lease", 1);
  executor_->post([this] { loop(); });
}

std::optional<Error> Lease::fatal() const {
  base::MutexLock lock(mutex_);
  return fatal_;
}

void Lease::lose() {
  ++losses_;
  held_ = false;
  shared_.lease_until_ns = 0;
}

// Whoever holds the partition works.
void Lease::loop() {
  const MirrorOptions& config = shared_.options;
  client::GroupMemberOptions options;
  options.group = "odradek-mirror-" + config.name;
  options.topics = {config.positions_topic()};
  options.instance_id = config.instance;
  options.cooperative = true;  // a second instance that comes does not take it away
  options.session_timeout_ms = config.session_timeout_ms;
  options.rebalance_timeout_ms = config.session_timeout_ms;
  options.heartbeat_ms = config.session_timeout_ms / 6;
  client::GroupListener listener;
  listener.on_revoked = [this](const std::vector<TopicPartition>&, bool) { lose(); };
  listener.on_assigned = [](const std::vector<TopicPartition>&) -> Result<void> { return {}; };
  client::ClusterOptions cluster;
  cluster.bootstrap = config.target;
  cluster.connection.client_id = "odradek-mirror-" + config.name;
  cluster.patience = std::chrono::milliseconds(config.session_timeout_ms / 2);
  std::unique_ptr<client::GroupMember> member;
  while (!shared_.stop) {
    if (member == nullptr) {
      auto made = client::GroupMember::make(shared_.dialer, shared_.runtime.random(), cluster, options, listener);
      if (!made) {
        note_("group of the mirror", fail(std::move(made.error())));
        shared_.pause(1'000);
        continue;
      }
      member = std::move(*made);
    }
    int64_t before = shared_.now_ns();
    auto done = member->work();
    note_("group of the mirror", done);
    if (!done && done.error().code == ErrorCode::kFencedInstanceId) {
      {
        base::MutexLock lock(mutex_);
        fatal_ = Error{ErrorCode::kFencedInstanceId, "another process of mirror " + config.name + " with instance.id " + config.instance + " has taken over"};
      }
      return lose();
    }
    bool mine = done && member->assigned().contains({config.positions_topic(), 0});
    if (mine) {
      // Two thirds of the session: then the others still wait.
      shared_.lease_until_ns = before + int64_t{config.session_timeout_ms} * 666'000;
      if (!held_.exchange(true)) shared_.target_alarm.ring();
    } else if (done) {
      held_ = false;
    }
    shared_.pause(done ? options.heartbeat_ms + 1 : 500);  // at each turn a heartbeat is due
  }
  member.reset();
  leave_group();
}

// So that another instance need not wait for the end of the session. GroupMember keeps a static member in its group.
void Lease::leave_group() {
  auto target = connect(shared_, shared_.options.target, 2'000);
  if (!target) return;
  protocol::LeaveGroupRequest request;
  request.group_id = "odradek-mirror-" + shared_.options.name;
  request.members.push_back({.member_id = "", .group_instance_id = shared_.options.instance, .reason = "the mirror stops"});
  auto answer = (*target)->ask<protocol::LeaveGroupResponse>(client::TheCoordinator{client::CoordinatorType::kGroup, request.group_id}, request);
  if (!answer) log::info("mirror", "the group of the mirror was not left: {}", answer.error().what);
}

}  // namespace odradek::mirror
