#include "coordinator/runtime/outbox.h"

#include <algorithm>

namespace odradek::coordinator {

void Outbox::committed(uint64_t append, ErrorCode result) {
  if (append <= committed_) return;
  committed_ = append;
  // Taken out before they are called: an answer may lead to the next request.
  std::vector<std::pair<Answer, ErrorCode>> ready;
  std::erase_if(waiting_, [&](Waiting& waiting) {
    if (waiting.append > committed_) return false;
    ready.emplace_back(std::move(waiting.answer), waiting.append == append ? result : ErrorCode::kNone);
    return true;
  });
  for (auto& [answer, error] : ready) answer(error);
}

void Outbox::send_after(uint64_t append, int64_t deadline_ms, Answer answer) {
  if (is_committed(append)) return answer(ErrorCode::kNone);
  waiting_.push_back({append, deadline_ms, std::move(answer)});
}

void Outbox::expire(int64_t now_ms, ErrorCode error) {
  std::vector<Answer> expired;
  while (!waiting_.empty() && waiting_.front().deadline_ms <= now_ms) {
    expired.push_back(std::move(waiting_.front().answer));
    waiting_.pop_front();
  }
  for (Answer& answer : expired) answer(error);
}

void Outbox::fail_all(ErrorCode error) {
  std::deque<Waiting> all;
  all.swap(waiting_);
  for (Waiting& waiting : all) waiting.answer(error);
}

}  // namespace odradek::coordinator
