#include <sys/sysinfo.h>

#include "config/config.h"
#include "storage/log_manager.h"

namespace odradek::storage {
namespace {

int64_t quarter_of_memory() {
  struct sysinfo info {};
  return ::sysinfo(&info) == 0 ? static_cast<int64_t>(info.totalram) * info.mem_unit / 4 : 256 << 20;
}

}  // namespace

LogManagerOptions make_log_manager_options(const config::BrokerConfig& config) {
  LogManagerOptions options;
  options.dirs = config.log_dirs();
  options.recovery_threads_per_dir = config.get_int("num.recovery.threads.per.data.dir");
  options.flush_threads_per_dir = config.get_int("log.flush.threads.per.dir");
  options.flush_debt_factor = config.get_int("log.flush.debt.factor");
  options.reserve_bytes = config.get_long("log.dir.reserve.bytes");
  options.retention_check_interval_ms = config.get_long("log.retention.check.interval.ms");
  options.recovery_point_checkpoint_interval_ms = config.get_long("log.flush.offset.checkpoint.interval.ms");
  options.start_offset_checkpoint_interval_ms = config.get_long("log.flush.start.offset.checkpoint.interval.ms");
  options.high_watermark_checkpoint_interval_ms = config.get_long("replica.high.watermark.checkpoint.interval.ms");
  options.producer_id_expiration_ms = config.get_long("producer.id.expiration.ms");
  options.producer_expiry_check_interval_ms = config.get_long("producer.id.expiration.check.interval.ms");
  options.cold_read_cache_bytes = config.get_long("log.cold.read.cache.bytes");
  if (options.cold_read_cache_bytes < 0) options.cold_read_cache_bytes = quarter_of_memory();
  return options;
}

}  // namespace odradek::storage
