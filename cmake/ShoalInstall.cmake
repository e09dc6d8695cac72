include(CMakePackageConfigHelpers)
foreach(folder IN ITEMS autograd layers optim data train)
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/shoal
          FILES_MATCHING PATTERN "*.h")
endforeach()
install(TARGETS shoal shoal_options shoal_openblas shoal_hdf5 shoal_mpi EXPORT shoalTargets)
install(TARGETS shoal_program)
set(SHOAL_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/shoal)
install(EXPORT shoalTargets NAMESPACE shoal:: DESTINATION ${SHOAL_CMAKE_DIR})
configure_package_config_file(cmake/shoalConfig.cmake.in ${CMAKE_BINARY_DIR}/shoalConfig.cmake
                              INSTALL_DESTINATION ${SHOAL_CMAKE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/shoalConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/shoalConfig.cmake ${CMAKE_BINARY_DIR}/shoalConfigVersion.cmake
        DESTINATION ${SHOAL_CMAKE_DIR})
