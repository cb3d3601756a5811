#include "cli/local/processes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "model/error_code.h"

namespace odradek::cli {
namespace {

sigset_t held() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&set, number);
  return set;
}

timespec in(double seconds) {
  auto whole = static_cast<time_t>(seconds);
  return {.tv_sec = whole, .tv_nsec = static_cast<long>((seconds - static_cast<double>(whole)) * 1e9)};
}

double now() {
  timespec moment{};
  clock_gettime(CLOCK_MONOTONIC, &moment);
  return static_cast<double>(moment.tv_sec) + static_cast<double>(moment.tv_nsec) / 1e9;
}

}  // namespace

Result<ChildProcess> ChildProcess::start(std::vector<std::string> words, const std::string& log) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  // Its write end closes with a successful exec; else errno comes.
  std::array<int, 2> failed{};
  if (pipe2(failed.data(), O_CLOEXEC) != 0) return fail(ErrorCode::kInvalidRequest, "pipe: " + std::string(std::strerror(errno)), errno);
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) return fail(ErrorCode::kInvalidRequest, "fork: " + std::string(std::strerror(errno)), errno);
  if (pid == 0) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC), output = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (input >= 0 && output >= 0 && dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 && dup2(output, STDERR_FILENO) >= 0) {
      execvp(arguments[0], arguments.data());
    }
    int error = errno;
    if (write(failed[1], &error, sizeof(error)) < 0) _exit(2);
    _exit(1);
  }
  close(failed[1]);
  int error = 0;
  ssize_t got;
  do got = read(failed[0], &error, sizeof(error));
  while (got < 0 && errno == EINTR);
  close(failed[0]);
  if (got > 0) {
    waitpid(pid, nullptr, 0);
    return fail(ErrorCode::kInvalidRequest, fmt::format("{} cannot be started: {}", words[0], std::strerror(error)), error);
  }
  return ChildProcess(pid);
}

void ChildProcess::signal(int number) const {
  if (!ended_) kill(pid_, number);
}

bool ChildProcess::poll() {
  if (ended_) return false;
  ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
  return ended_;
}

bool ChildProcess::wait(double seconds) {
  double deadline = now() + seconds;
  for (;;) {
    poll();
    if (ended_ || now() >= deadline) return ended_;
    timespec pause = in(0.02);
    nanosleep(&pause, nullptr);
  }
}

std::string ChildProcess::end_in_words() const {
  return WIFSIGNALED(status_) ? fmt::format("was ended by signal {}", WTERMSIG(status_)) : fmt::format("ended with code {}", WEXITSTATUS(status_));
}

// A JVM that got SIGTERM ends with 143 although all went well.
bool ChildProcess::ended_in_order() const { return ended_ && WIFEXITED(status_) && (WEXITSTATUS(status_) == 0 || WEXITSTATUS(status_) == 128 + SIGTERM); }

void hold_signals() {
  sigset_t set = held();
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

std::optional<int> wait_for_signal(double seconds) {
  sigset_t set = held();
  timespec timeout = in(seconds);
  int number = sigtimedwait(&set, nullptr, &timeout);
  return number > 0 ? std::optional(number) : std::nullopt;
}

std::string own_folder() {
  std::array<char, 4096> path{};
  ssize_t size = readlink("/proc/self/exe", path.data(), path.size() - 1);
  std::string text(path.data(), size > 0 ? static_cast<size_t>(size) : 0);
  return text.substr(0, text.rfind('/'));
}

bool port_is_free(int port) {
  int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool free = bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 && listen(socket, 1) == 0;
  close(socket);
  return free;
}

}  // namespace odradek::cli
