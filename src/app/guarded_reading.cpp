#include "app/guarded_reading.h"

#include <stdexcept>

#include "core/error.h"
#include "core/json.h"
#include "store/open_results.h"
#include "store/read_guard.h"

namespace mechsweep {

GuardedReading::GuardedReading(bool wanted) {
  if (wanted) ReadGuard::start(read_limits_from_environment(), try_results_file);
}

GuardedReading::~GuardedReading() {
  ReadGuard::stop();
}

int reading_results(const std::string& file, const std::function<int()>& step) {
  const auto refuse = [&](const std::exception& error) {
    fail(ErrorKind::input, "{}: its parts do not fit together ({}); the file is damaged", file,
         error.what());
  };
  try {
    return step();
  } catch (const Json::exception& error) {
    refuse(error);
  } catch (const std::logic_error& error) {  // out of range, a length or a number that is none
    refuse(error);
  }
  return 0;
}

}  // namespace mechsweep
