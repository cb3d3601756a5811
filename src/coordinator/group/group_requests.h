// What members ask of one classic group, and what they are answered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/function.h"
#include "coordinator/runtime/outbox.h"
#include "model/error_code.h"

namespace odradek::coordinator {

struct MemberProtocol {
  std::string name;
  Bytes metadata;
  friend bool operator==(const MemberProtocol&, const MemberProtocol&) = default;
};

struct JoinRequest {
  std::string member_id;  // empty: a new member
  std::optional<std::string> instance_id;
  std::string client_id;
  std::string client_host;
  int32_t session_timeout_ms = 0;
  int32_t rebalance_timeout_ms = 0;
  std::string protocol_type;
  std::vector<MemberProtocol> protocols;
  bool require_known_member_id = false;   // v4+: a new dynamic member gets its id first and has to come back
  bool supports_skip_assignment = false;  // v9+
  std::string uuid;                       // text of a random UUID: the tail of the member id, if one has to be made
};

struct JoinResult {
  struct Member {
    std::string member_id;
    std::optional<std::string> instance_id;
    Bytes metadata;
  };
  ErrorCode error = ErrorCode::kNone;
  int32_t generation = -1;
  std::optional<std::string> protocol_type;
  std::optional<std::string> protocol_name;
  std::string leader;
  bool skip_assignment = false;
  std::string member_id;
  std::vector<Member> members;  // only for the leader
};

struct SyncRequest {
  std::string member_id;
  int32_t generation = -1;
  std::optional<std::string> instance_id;
  std::optional<std::string> protocol_type;
  std::optional<std::string> protocol_name;
  std::vector<std::pair<std::string, Bytes>> assignments;  // of the leader: member id, assignment
};

struct SyncResult {
  ErrorCode error = ErrorCode::kNone;
  std::optional<std::string> protocol_type;
  std::optional<std::string> protocol_name;
  Bytes assignment;
};

using JoinAnswer = UniqueFunction<void(JoinResult)>;
using SyncAnswer = UniqueFunction<void(SyncResult)>;

// Answers that are decided (outbox.h).
using Answers = std::vector<Answer>;

// Each adds an answer to those that are decided. If the append that it stands on is lost, that error goes in its place.
void answer_join(Answers& out, JoinAnswer to, JoinResult result);
void fail_join(Answers& out, JoinAnswer to, std::string member_id, ErrorCode error);
void answer_sync(Answers& out, SyncAnswer to, SyncResult result);

}  // namespace odradek::coordinator
