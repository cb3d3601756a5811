#include <gtest/gtest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "base/clock.h"
#include "base/crc.h"
#include "base/executor.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/uuid.h"
#include "base/varint.h"

namespace odradek::base {
namespace {

using std::chrono::milliseconds;

std::string fresh_directory() {
  std::string path = ::testing::TempDir() + "odradek-base-XXXXXX";
  EXPECT_NE(::mkdtemp(path.data()), nullptr);
  return path;
}

TEST(Crc, FastAndPortableFormsAgreeAtEveryLengthAndSeed) {
  Bytes bytes(5000);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 7 + i / 251);
  for (size_t length : {0u, 1u, 7u, 8u, 9u, 63u, 255u, 256u, 257u, 1000u, 4999u}) {
    ByteView view(bytes.data(), length);
    EXPECT_EQ(crc32c(view), crc32c_portable(view));
    EXPECT_EQ(crc32(view), crc32_portable(view));
    EXPECT_EQ(crc32c(view, 0x1234), crc32c_portable(view, 0x1234));
    EXPECT_EQ(crc32(view, 0x1234), crc32_portable(view, 0x1234));
  }
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32(as_bytes("123456789")), 0xcbf43926u);
}

TEST(Varint, RoundTripsAndRefusesCutOrTooLongInput) {
  for (int64_t value : {int64_t{0}, int64_t{-1}, int64_t{63}, int64_t{-64}, int64_t{64}, INT64_MAX, INT64_MIN, int64_t{1} << 40}) {
    uint8_t buffer[10];
    size_t size = encode_varlong(buffer, value);
    int64_t back = 0;
    EXPECT_EQ(decode_varlong(buffer, buffer + size, back), size);
    EXPECT_EQ(back, value);
    EXPECT_EQ(decode_varlong(buffer, buffer + size - 1, back), 0u);
  }
  uint8_t endless[11];
  std::fill(std::begin(endless), std::end(endless), uint8_t{0xff});
  int32_t small;
  int64_t large;
  EXPECT_EQ(decode_varint(endless, endless + 11, small), 0u);
  EXPECT_EQ(decode_varlong(endless, endless + 11, large), 0u);
}

TEST(Uuid, TextFormIsKafkas) {
  auto uuid = Uuid::parse("T7IX2ErtQQyDM-Lkl36jeA");
  ASSERT_TRUE(uuid);
  EXPECT_EQ(uuid->to_string(), "T7IX2ErtQQyDM-Lkl36jeA");
  EXPECT_FALSE(Uuid::parse("T7IX2ErtQQyDM-Lkl36je"));
  EXPECT_FALSE(Uuid::parse("T7IX2ErtQQyDM*Lkl36jeA"));
}

TEST(Files, WriteReadTruncateAndAtomicReplace) {
  std::string directory = fresh_directory();
  FileSystem& files = posix_files();
  auto file = files.open(directory + "/a", OpenMode::kCreate);
  ASSERT_TRUE(file);
  ByteView parts[] = {as_bytes("hello "), as_bytes(""), as_bytes("world")};
  ASSERT_TRUE((*file)->pwritev(3, parts));
  EXPECT_EQ(*(*file)->size(), 14);
  Bytes into(20);
  EXPECT_EQ(*(*file)->pread(3, into), 11u);
  EXPECT_EQ(as_text(ByteView(into).first(11)), "hello world");
  EXPECT_TRUE((*file)->resident(0, 14));
  ASSERT_TRUE((*file)->truncate(5));
  EXPECT_EQ(*(*file)->size(), 5);

  ASSERT_TRUE(write_file_atomically(files, directory + "/b", as_bytes("one")));
  ASSERT_TRUE(write_file_atomically(files, directory + "/b", as_bytes("two")));
  EXPECT_EQ(as_text(*read_file(files, directory + "/b", 10)), "two");
  EXPECT_FALSE(read_file(files, directory + "/b", 2));
  auto listed = files.list(directory);
  ASSERT_TRUE(listed);
  EXPECT_EQ(listed->size(), 2u);
  auto missing = files.open(directory + "/none", OpenMode::kRead);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().os_error, ENOENT);
  ASSERT_TRUE(files.remove_all(directory));
}

TEST(Log, OneCallIsOneLineWhateverStandsInIt) {
  const std::string directory = fresh_directory();
  ASSERT_TRUE(log::configure({.file = directory + "/server.log"}));
  log::info("request", "client '{}'", "a\r\n[2026-01-01 00:00:00,000] FATAL [x] forged\x1b[2J\x7f\tü");
  log::flush();
  const std::string text(as_text(*read_file(posix_files(), directory + "/server.log", 1000)));
  EXPECT_TRUE(text.ends_with("INFO [request] client 'a\\x0d\\x0a[2026-01-01 00:00:00,000] FATAL [x] forged\\x1b[2J\\x7f\\x09ü'\n")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  ASSERT_TRUE(posix_files().remove_all(directory));
}

TEST(Log, GoesOnInAFileThatCouldNotBeOpenedForAWhile) {
  const std::string directory = fresh_directory();
  const std::string logs = directory + "/logs";
  EXPECT_FALSE(log::configure({.file = "/dev/null/server.log"}));
  ASSERT_TRUE(posix_files().create_directories(logs));
  ASSERT_TRUE(log::configure({.file = logs + "/server.log", .rotate_bytes = 4096, .rotate_keep = 1}));
  log::info("test", "before");
  // The next file cannot be made: where its folder was is a file.
  ASSERT_TRUE(posix_files().rename(logs, directory + "/away"));
  ASSERT_TRUE(posix_files().open(logs, OpenMode::kCreate));
  for (int i = 0; i < 5; ++i) log::info("test", "{}", std::string(1000, 'x'));
  ASSERT_TRUE(posix_files().remove(logs));
  auto read = [&] {
    log::info("test", "after");
    log::flush();
    auto content = read_file(posix_files(), logs + "/server.log", 1 << 20);
    return content ? std::string(as_text(*content)) : "";
  };
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (read().find("after") == std::string::npos && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(milliseconds(50));
  EXPECT_NE(read().find("after"), std::string::npos);
  ASSERT_TRUE(log::configure({.file = directory + "/server.log"}));
  ASSERT_TRUE(posix_files().remove_all(directory));
}

TEST(Files, APipeIsReadToItsEnd) {
  const std::string pipe = fresh_directory() + "/pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string text(100'000, 'p');
  std::thread writer([&] {
    int to = ::open(pipe.c_str(), O_WRONLY);
    for (size_t at = 0; at < text.size(); at += 10'000) EXPECT_EQ(::write(to, text.data() + at, 10'000), 10'000);
    ::close(to);
  });
  auto content = read_file(posix_files(), pipe, 1 << 20);
  writer.join();
  ASSERT_TRUE(content) << content.error().what;
  EXPECT_EQ(as_text(*content), text);
  ASSERT_TRUE(posix_files().remove_all(pipe.substr(0, pipe.rfind('/'))));
}

TEST(Files, AFileIsLockedOnceInAProcessUnderWhateverName) {
  const std::string directory = fresh_directory();
  ASSERT_EQ(::symlink(directory.c_str(), (directory + "/same").c_str()), 0);
  auto first = posix_files().lock(directory + "/.lock");
  ASSERT_TRUE(first);
  auto again = posix_files().lock(directory + "/same/.lock");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().os_error, EDEADLK);
  first->reset();
  EXPECT_TRUE(posix_files().lock(directory + "/same/.lock"));
  ASSERT_TRUE(posix_files().remove_all(directory));
}

TEST(SystemRandom, NeedsNoDescriptor) {
  auto runtime = make_system_runtime();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  uint64_t first = 0, second = 0;
  std::thread([&] {  // the first numbers of a thread
    first = runtime->random().next();
    second = runtime->random().next();
  }).join();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_NE(first, second);
}

TEST(Executor, OneThreadKeepsOrderAndDestructorRunsAllTasks) {
  auto runtime = make_system_runtime();
  std::vector<int> seen;
  {
    auto executor = runtime->make_executor("test", 1);
    for (int i = 0; i < 1000; ++i) executor->post([&seen, i] { seen.push_back(i); });
  }
  ASSERT_EQ(seen.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[static_cast<size_t>(i)], i);
}

TEST(Executor, PostingOutlivesTheExecutor) {
  auto runtime = make_system_runtime();
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ran = 0;
    auto executor = runtime->make_executor("test", 1);
    std::vector<Task> timers;
    for (int i = 0; i < 200; ++i) timers.push_back(executor->posting([&ran] { ++ran; }));
    timers.front()();  // the executor is there: this one runs
    std::thread fires([&timers] {  // these fire while it is being destroyed
      for (size_t i = 1; i + 1 < timers.size(); ++i) timers[i]();
    });
    executor.reset();
    const int before = ran;
    EXPECT_GE(before, 1);
    fires.join();
    timers.back()();
    EXPECT_EQ(ran, before) << "a task was taken by an executor that is gone";
  }
}

TEST(Timers, FireInOrderNeverEarlyAndNotAfterCancel) {
  auto runtime = make_system_runtime();
  std::atomic<int> fired{0};
  std::atomic<bool> early{false};
  int64_t start = runtime->clock().monotonic_ns();
  auto arm = [&](int delay, int order) {
    return runtime->timers().after(milliseconds(delay), [&, delay, order] {
      if (runtime->clock().monotonic_ns() - start < delay * 1'000'000ll) early = true;
      EXPECT_EQ(fired++, order);
    });
  };
  TimerId third = arm(5000, 99);  // longer than one turn of the wheel
  arm(60, 1);
  arm(20, 0);
  TimerId cancelled = arm(30, 98);
  EXPECT_TRUE(runtime->timers().cancel(cancelled));
  EXPECT_FALSE(runtime->timers().cancel(cancelled));
  while (fired < 2) std::this_thread::yield();
  EXPECT_FALSE(early);
  EXPECT_TRUE(runtime->timers().cancel(third));
}

TEST(Timers, OneForTheLongestTimeDoesNotFire) {
  auto runtime = make_system_runtime();
  std::atomic<bool> fired{false}, later{false};
  TimerId never = runtime->timers().after(milliseconds(INT64_MAX), [&] { fired = true; });
  runtime->timers().after(milliseconds(20), [&] { later = true; });
  while (!later) std::this_thread::yield();
  EXPECT_FALSE(fired);
  EXPECT_TRUE(runtime->timers().cancel(never));
}

TEST(PeriodicTask, RepeatsUntilDestroyed) {
  auto runtime = make_system_runtime();
  auto executor = runtime->make_executor("test", 1);
  std::atomic<int> runs{0};
  {
    PeriodicTask task(*runtime, *executor, milliseconds(2), [&] { ++runs; });
    while (runs < 5) std::this_thread::yield();
  }
  int after = runs;
  std::atomic<bool> later{false};
  runtime->timers().after(milliseconds(20), [&] { later = true; });
  while (!later) std::this_thread::yield();
  EXPECT_EQ(runs, after);
}

}  // namespace
}  // namespace odradek::base
