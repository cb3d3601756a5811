#include "coordinator/group/group_requests.h"

namespace odradek::coordinator {

void answer_join(Answers& out, JoinAnswer to, JoinResult result) {
  out.push_back([to = std::move(to), result = std::move(result)](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) result = JoinResult{.error = lost, .member_id = std::move(result.member_id)};
    to(std::move(result));
  });
}

void fail_join(Answers& out, JoinAnswer to, std::string member_id, ErrorCode error) {
  answer_join(out, std::move(to), JoinResult{.error = error, .member_id = std::move(member_id)});
}

void answer_sync(Answers& out, SyncAnswer to, SyncResult result) {
  out.push_back([to = std::move(to), result = std::move(result)](ErrorCode lost) mutable {
    if (lost != ErrorCode::kNone) result = SyncResult{.error = lost};
    to(std::move(result));
  });
}

}  // namespace odradek::coordinator
