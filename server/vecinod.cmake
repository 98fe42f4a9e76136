# Metrics, for every room of the server, and the server's binary.

add_library(vecino_metrics STATIC ${CMAKE_CURRENT_LIST_DIR}/metrics.cc)
target_link_libraries(vecino_metrics PUBLIC absl::synchronization PRIVATE prometheus-cpp::core vecino_warnings)
