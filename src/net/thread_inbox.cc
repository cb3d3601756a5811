#include "net/thread_inbox.h"

namespace odradek::net {

ThreadInbox::~ThreadInbox() {
  for (Command* command = commands.close(); command != nullptr;) {
    Command* next = command->next.load(std::memory_order_relaxed);
    delete command;
    command = next;
  }
}

bool ThreadInbox::post(std::function<void(NetworkThread&)> run, std::function<void()> refused) {
  auto* command = new Command;
  command->run = std::move(run);
  command->refused = std::move(refused);
  if (commands.try_push(command) == base::MpscQueue<Command>::Push::kClosed) {
    if (command->refused) command->refused();
    delete command;
    return false;
  }
  wake();
  return true;
}

}  // namespace odradek::net
